package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// kindUser keeps users; the id is the folded user name.
	kindUser = "idp.user"

	// indexUserSubject finds a user by the subject, indexUsers finds all of them.
	indexUserSubject = "subject"
	indexUsers       = "users"

	// maxUsername bounds the user name of a stored user, in bytes.
	maxUsername = 256
)

// ErrUserExists says that there is a user with the same name or subject.
var ErrUserExists = errors.New("user exists")

// StoredUsers is a UserStore whose users are kept in a store, where they come and go
// while the provider runs, on all nodes at once. It is safe for concurrent use.
type StoredUsers struct {
	store store.Store
}

// NewStoredUsers returns the users that are kept in a store.
func NewStoredUsers(s store.Store) *StoredUsers { return &StoredUsers{store: s} }

// userRecord is a user as it lies in the store.
type userRecord struct {
	Subject      string         `json:"sub"`
	Username     string         `json:"username"`
	Name         string         `json:"name,omitempty"`
	PasswordHash string         `json:"password,omitempty"`
	UserCodeHash string         `json:"user_code,omitempty"`
	Claims       map[string]any `json:"claims,omitempty"`
	Disabled     bool           `json:"disabled,omitempty"`
}

// ByLogin implements UserStore. Upper and lower case are the same.
func (s *StoredUsers) ByLogin(ctx context.Context, hint string) (*User, error) {
	record, err := s.get(ctx, hint)
	if err != nil {
		return nil, err
	}
	return decodeUser(record)
}

// BySubject implements UserStore.
func (s *StoredUsers) BySubject(ctx context.Context, subject string) (*User, error) {
	if !isSubject(subject) {
		return nil, ErrUserNotFound
	}
	records, err := s.store.List(ctx, kindUser, store.Index{Name: indexUserSubject, Value: subject}, "", 1)
	if err != nil {
		return nil, fmt.Errorf("looking up user: %w", err)
	}
	if len(records) == 0 {
		return nil, ErrUserNotFound
	}
	return decodeUser(records[0])
}

// get reads the record of a user name.
func (s *StoredUsers) get(ctx context.Context, username string) (*store.Record, error) {
	id := foldLogin(username)
	if id == "" || len(id) > maxUsername || strings.ContainsRune(id, 0) {
		return nil, ErrUserNotFound
	}
	record, err := s.store.Get(ctx, kindUser, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrUserNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading user: %w", err)
	}
	return record, nil
}

func decodeUser(record *store.Record) (*User, error) {
	var r userRecord
	err := json.Unmarshal(record.Data, &r)
	if err != nil {
		return nil, fmt.Errorf("decoding user: %w", err)
	}
	return &User{
		ID: r.Subject, Username: r.Username, Name: r.Name, PasswordHash: r.PasswordHash,
		UserCodeHash: r.UserCodeHash, Claims: r.Claims, Disabled: r.Disabled,
	}, nil
}

// fill writes a user into its record.
func fill(record *store.Record, u *User) error {
	data, err := json.Marshal(userRecord{
		Subject: u.ID, Username: u.Username, Name: u.Name, PasswordHash: u.PasswordHash,
		UserCodeHash: u.UserCodeHash, Claims: u.Claims, Disabled: u.Disabled,
	})
	if err != nil {
		return fmt.Errorf("encoding user: %w", err)
	}
	record.Data = data
	record.Indexes = []store.Index{{Name: indexUserSubject, Value: u.ID}, {Name: indexUsers}}
	return nil
}

// Create adds a user. It returns ErrUserExists if the name is taken. That nobody else
// has the subject is looked up before it; it must never have been another person's.
func (s *StoredUsers) Create(ctx context.Context, u User) error {
	id := foldLogin(u.Username)
	if id == "" || len(id) > maxUsername || !isSubject(u.ID) {
		return errors.New("a user needs a name of at most 256 bytes, and an id of 1 to 255 printable ASCII characters")
	}
	_, err := s.BySubject(ctx, u.ID)
	if err == nil {
		return ErrUserExists
	}
	if !errors.Is(err, ErrUserNotFound) {
		return err
	}
	record := &store.Record{Kind: kindUser, ID: id}
	err = fill(record, &u)
	if err != nil {
		return err
	}
	err = s.store.Create(ctx, record)
	if errors.Is(err, store.ErrExists) {
		return ErrUserExists
	}
	if err != nil {
		return fmt.Errorf("writing user: %w", err)
	}
	return nil
}

// Change changes a user by one conditional write; name and subject stay as they are.
// It returns ErrUserNotFound if there is no such user.
func (s *StoredUsers) Change(ctx context.Context, username string, change func(*User)) error {
	for {
		record, err := s.get(ctx, username)
		if err != nil {
			return err
		}
		u, err := decodeUser(record)
		if err != nil {
			return err
		}
		changed := *u
		change(&changed)
		changed.ID, changed.Username = u.ID, u.Username
		err = fill(record, &changed)
		if err != nil {
			return err
		}
		err = s.store.Update(ctx, record)
		switch {
		case errors.Is(err, store.ErrConflict):
			continue // somebody else has changed it; ours goes on top
		case errors.Is(err, store.ErrNotFound):
			return ErrUserNotFound
		case err != nil:
			return fmt.Errorf("writing user: %w", err)
		}
		return nil
	}
}

// Remove removes a user, or returns ErrUserNotFound.
func (s *StoredUsers) Remove(ctx context.Context, username string) error {
	record, err := s.get(ctx, username)
	if err != nil {
		return err
	}
	err = s.store.Delete(ctx, kindUser, record.ID, 0)
	if errors.Is(err, store.ErrNotFound) {
		return ErrUserNotFound
	}
	if err != nil {
		return fmt.Errorf("removing user: %w", err)
	}
	return nil
}

// List returns users in the order of their names, behind the given one ("" for the
// first), at most limit of them.
func (s *StoredUsers) List(ctx context.Context, after string, limit int) ([]*User, error) {
	records, err := s.store.List(ctx, kindUser, store.Index{Name: indexUsers}, foldLogin(after), limit)
	if err != nil {
		return nil, fmt.Errorf("listing users: %w", err)
	}
	users := make([]*User, 0, len(records))
	for _, record := range records {
		u, err := decodeUser(record)
		if err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	return users, nil
}

// Interface guard
var _ UserStore = (*StoredUsers)(nil)

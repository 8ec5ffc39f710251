package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

// Events that a log writes about itself. All others are its users'.
const (
	// EventOpened: a process has begun to write, EventClosed: has ended to.
	EventOpened = "log_opened"
	EventClosed = "log_closed"

	// EventCheckpoint is signed.
	EventCheckpoint = "log_checkpoint"

	// EventTorn: the line before is what a process has left that died while it
	// wrote, or whose disk was full.
	EventTorn = "log_torn"

	// EventContinued is the first line of a file behind another one.
	EventContinued = "log_continued"

	// EventTruncated: lines are missing that were signed once.
	EventTruncated = "log_truncated"
)

// Entry is what happened, to whom, and on whose decision. Fields that do not apply
// are empty and left out. It has no token, no body and no secret.
type Entry struct {
	// Event is what has happened. Required.
	Event string `json:"event"`

	// Request names it: the transaction of a gateway, the request of a provider.
	Request string `json:"request,omitempty"`

	// ProviderRequest is the Request under which the provider's own log has it, as
	// a gateway knows it: the base64url SHA-256 of the auth_req_id.
	ProviderRequest string `json:"provider_request,omitempty"`

	// Issuer is the provider, Client who has asked, Route the gate.
	Issuer string `json:"issuer,omitempty"`
	Client string `json:"client,omitempty"`
	Route  string `json:"route,omitempty"`

	// Customer is who was asked, Caller for whom.
	Customer string `json:"customer,omitempty"`
	Caller   string `json:"caller,omitempty"`

	// Method, Host and Target are those of a request to an API, the target without
	// its query. Digest is what the approval is bound to.
	Method string `json:"method,omitempty"`
	Host   string `json:"host,omitempty"`
	Target string `json:"target,omitempty"`
	Digest string `json:"digest,omitempty"`

	// Message, Details and Scopes are what the customer was shown. Granted are the
	// scopes that were approved.
	Message string          `json:"message,omitempty"`
	Details json.RawMessage `json:"details,omitempty"`
	Scopes  []string        `json:"scopes,omitempty"`
	Granted []string        `json:"granted,omitempty"`

	// Subject, ACR, AMR and AuthTime say who has approved, and how that was proven.
	Subject  string    `json:"subject,omitempty"`
	ACR      string    `json:"acr,omitempty"`
	AMR      []string  `json:"amr,omitempty"`
	AuthTime time.Time `json:"auth_time,omitzero"`

	// Evidence are the base64url SHA-256 of the records of evidence of an approval.
	Evidence []string `json:"evidence,omitempty"`

	// State, Status and Reason are what came of it: the state of the transaction,
	// the HTTP status of the upstream, the problem or the reason of an end.
	State  string `json:"state,omitempty"`
	Status int    `json:"status,omitempty"`
	Reason string `json:"reason,omitempty"`

	// Note is what an operator has written down.
	Note string `json:"note,omitempty"`
}

// head is what every line begins with.
type head struct {
	Version int       `json:"v"`
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Node    string    `json:"node"`
	Prev    string    `json:"prev"`
}

// own are the members of the events of a log about itself.
type own struct {
	// Key is the public key of a checkpoint.
	Key []byte `json:"key,omitempty"`

	// Length and Remains are those of a torn line.
	Length  int    `json:"length,omitempty"`
	Remains string `json:"remains,omitempty"`

	// Previous is the name of the file that ends in front of a first line.
	Previous string `json:"previous,omitempty"`

	// Missing is the checkpoint of which there is no trace any more.
	Missing *Checkpoint `json:"missing,omitempty"`
}

// line is a whole line but for its hash and signature, which stand behind it.
type line struct {
	head
	Entry
	own
}

const (
	lineVersion = 1

	// maxLine bounds the length of a line in bytes. Entries that are longer are
	// refused.
	maxLine = 1 << 20

	hashPurpose = "caddyciba audit line v1\x00"
	signPurpose = "caddyciba audit checkpoint v1\x00"
)

var (
	hashMember = []byte(`,"hash":"`)
	signMember = []byte(`","sig":"`)
	lineEnd    = []byte("\"}\n")
)

// hashOf is the hash of a line without its end.
func hashOf(body []byte) string {
	h := sha256.New()
	_, _ = h.Write([]byte(hashPurpose))
	_, _ = h.Write(body)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(s[:])
}

// encode writes a line, signed if there is a key, and returns its hash.
func (l *line) encode(key ed25519.PrivateKey) (text []byte, hash string, err error) {
	text, err = json.Marshal(l)
	if err != nil {
		return nil, "", fmt.Errorf("encoding audit entry: %w", err)
	}
	text = text[:len(text)-1] // the brace
	hash = hashOf(text)
	text = append(append(text, hashMember...), hash...)
	if key != nil {
		signature := ed25519.Sign(key, []byte(signPurpose+hash))
		text = append(append(text, signMember...), base64.RawURLEncoding.EncodeToString(signature)...)
	}
	text = append(text, lineEnd...)
	if len(text) > maxLine {
		return nil, "", fmt.Errorf("audit entry is above %d bytes", maxLine)
	}
	return text, hash, nil
}

// decode reads a line with its end, and checks its hash and its signature. It says
// nothing of its place in the chain.
func decode(text []byte) (l *line, hash string, err error) {
	if len(text) > maxLine {
		return nil, "", fmt.Errorf("line is above %d bytes", maxLine)
	}
	rest, ok := bytes.CutSuffix(text, lineEnd)
	if !ok {
		return nil, "", errNotALine
	}
	at := bytes.LastIndex(rest, hashMember)
	if at < 0 {
		return nil, "", errNotALine
	}
	body, end := rest[:at], rest[at+len(hashMember):]
	end, signature, signed := bytes.Cut(end, signMember)
	hash = hashOf(body)
	if string(end) != hash {
		return nil, "", errHash
	}
	d := json.NewDecoder(bytes.NewReader(append(bytes.Clone(body), '}')))
	d.DisallowUnknownFields()
	l = &line{}
	err = d.Decode(l)
	if err != nil || l.Version != lineVersion {
		return nil, "", errNotALine
	}
	if !signed && l.Event != EventCheckpoint {
		return l, hash, nil
	}
	if l.Event != EventCheckpoint || len(l.Key) != ed25519.PublicKeySize {
		return nil, "", errSignature
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(string(signature))
	if err != nil || !ed25519.Verify(l.Key, []byte(signPurpose+hash), raw) {
		return nil, "", errSignature
	}
	return l, hash, nil
}

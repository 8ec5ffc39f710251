package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What the buttons of a request's page send.
const (
	decisionApprove = "approve"
	decisionDeny    = "deny"
)

// customer uses the approval app as a person with a browser does, over HTTP and
// by the pages' own links and forms: it knows no address but the first.
type customer struct {
	app      string
	http     *http.Client
	password string // after signIn: the app asks for it again at an approval
}

// newCustomer returns a customer who has not signed in. The app is the address
// that the bank printed on its letter, without a trailing slash.
func newCustomer(app string) (*customer, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &customer{app: app, http: &http.Client{Jar: jar, Timeout: 30 * time.Second}}, nil
}

// signIn opens the app and signs in where it asks for that.
func (c *customer) signIn(ctx context.Context, user, password string) error {
	p, err := c.get(ctx, c.app+"/")
	if err != nil {
		return fmt.Errorf("opening the app: %w", err)
	}
	f := p.passwordForm()
	if f == nil {
		return errors.New("the app shows no sign-in form")
	}
	err = errors.Join(f.fill("username", user), f.fill("password", password))
	if err != nil {
		return fmt.Errorf("signing in: %w", err)
	}
	p, err = c.submit(ctx, p, f, "")
	if err != nil {
		return fmt.Errorf("signing in: %w", err)
	}
	if p.passwordForm() != nil {
		return errors.New("signing in: the app asks again")
	}
	c.password = password
	return nil
}

// pending returns the addresses of the requests that wait for a decision.
func (c *customer) pending(ctx context.Context) ([]string, error) {
	p, err := c.get(ctx, c.app+"/")
	if err != nil {
		return nil, fmt.Errorf("opening the list: %w", err)
	}
	var found []string
	for _, link := range p.links {
		if strings.Contains(link.Path, "/requests/") && !slices.Contains(found, link.String()) {
			found = append(found, link.String())
		}
	}
	return found, nil
}

// find waits until a request whose page shows the message is pending, and opens
// it. It looks again every 50 ms until the context ends.
func (c *customer) find(ctx context.Context, message string) (*page, error) {
	for {
		links, err := c.pending(ctx)
		if err != nil {
			return nil, err
		}
		for _, link := range links {
			p, err := c.get(ctx, link)
			var refusal *refusedError
			if errors.As(err, &refusal) {
				continue // it is over by now
			}
			if err != nil {
				return nil, fmt.Errorf("opening a request: %w", err)
			}
			if strings.Contains(p.text, message) {
				return p, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no pending request shows %q: %w", message, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// decide presses the button with that value on a request's page, after having
// unticked some scopes. Where the app asks for the password before it takes an
// approval, it gets it. The page that comes back is the one that says what
// became of the request.
func (c *customer) decide(ctx context.Context, p *page, decision string, untick ...string) (*page, error) {
	f := p.formWith(decision)
	if f == nil {
		return nil, fmt.Errorf("the page has no button to %s", decision)
	}
	for _, scope := range untick {
		err := f.untick(scope)
		if err != nil {
			return nil, err
		}
	}
	p, err := c.submit(ctx, p, f, decision)
	if err != nil {
		return nil, err
	}
	f = p.passwordForm()
	if f != nil {
		err = f.fill("password", c.password)
		if err != nil {
			return nil, err
		}
		p, err = c.submit(ctx, p, f, decision)
		if err != nil {
			return nil, err
		}
	}
	if p.formWith(decision) != nil {
		return nil, fmt.Errorf("the app did not take it: %s", p.text)
	}
	return p, nil
}

func (c *customer) get(ctx context.Context, address string) (*page, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", address, nil)
	if err != nil {
		return nil, err
	}
	return c.do(req)
}

// submit sends a form with the headers that a browser adds to one: where the
// page came from, and that it is of the same origin.
func (c *customer) submit(ctx context.Context, p *page, f *form, button string) (*page, error) {
	target, body, err := f.press(button)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, f.method, target.String(), strings.NewReader(body.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", (&url.URL{Scheme: p.url.Scheme, Host: p.url.Host}).String())
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	return c.do(req)
}

func (c *customer) do(req *http.Request) (*page, error) {
	req.Header.Set("Accept", "text/html")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	p, err := readPage(resp.Request.URL, io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &refusedError{status: resp.Status, page: p}
	}
	return p, nil
}

// refusedError is a page of the app's that says why something cannot be done.
type refusedError struct {
	status string
	page   *page
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("the app answered %s: %s", e.status, e.page.heading)
}

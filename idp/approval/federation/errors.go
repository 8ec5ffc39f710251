package federation

import (
	"errors"
	"fmt"
)

// Errors that [Issuer.Begin] and [Issuer.Finish] return, with their causes. What
// causes say has no code, token or secret in it, and is for the log.
var (
	// ErrRefused says that the customer, or the other provider, has called it off.
	ErrRefused = errors.New("sign-in was not completed at the other provider")

	// ErrUnavailable says that the other provider cannot be reached or is out of
	// order. It may work later.
	ErrUnavailable = errors.New("the other provider is not available")

	// ErrMismatch says that an answer is not one to what was asked, or proves less
	// than was asked for.
	ErrMismatch = errors.New("the answer of the other provider is not acceptable")
)

func refused(cause string) error { return fmt.Errorf("%w: %s", ErrRefused, cause) }

func unavailable(cause error) error { return fmt.Errorf("%w: %w", ErrUnavailable, cause) }

func mismatch(cause string) error { return fmt.Errorf("%w: %s", ErrMismatch, cause) }

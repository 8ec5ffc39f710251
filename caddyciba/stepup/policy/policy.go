// Package policy decides whether a request needs its customer's approval, by a
// condition in the Common Expression Language (CEL) over what is in the request:
//
//	{ciba.body.amount} > 1000 || {ciba.body.currency} != "EUR"
//
// A placeholder is the text of one field, as the customer would be shown it; one
// with a step * in its path is a list of texts. The variables method, host, path
// and caller say more about the request. An order (<, <=, >, >=) is always that of
// decimal numbers, whether they came as JSON numbers or as texts, and never that of
// floating-point numbers or letters. decimal(x) makes a number to compute with and
// to compare by ==, sum(list) adds up.
//
// Whatever cannot be decided needs an approval.
package policy

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

const (
	// maxExpression is the length of a condition in bytes.
	maxExpression = 8 << 10

	// maxCost bounds the work for one request, in CEL's units: about as many steps.
	maxCost = 100_000
)

// Condition is a compiled condition. It is safe for concurrent use.
type Condition struct {
	source  string
	refs    map[string]reference
	program cel.Program
	body    bool
}

// Request is what a condition is about.
type Request struct {
	// Method, Host and Path are those of the request, Path without escapes and
	// query.
	Method, Host, Path string

	// Caller is who sends it, or empty.
	Caller string

	// Field returns what a path into the body leads to; see stepup.Document.Values.
	// Required if the condition has such a placeholder.
	Field func(stepup.Path) ([]string, error)

	// Placeholder returns what any other placeholder stands for, and whether it is
	// known. Required if the condition has one.
	Placeholder func(key string) (string, bool, error)
}

// The reasons for which a condition cannot be decided.
var (
	errUnknownPlaceholder = errors.New("placeholder is unknown")
	errNotOne             = errors.New("field is not a single value")
)

// Compile reads a condition and finds the mistakes in it.
func Compile(source string) (*Condition, error) {
	if len(source) > maxExpression {
		return nil, fmt.Errorf("condition is longer than %d bytes", maxExpression)
	}
	text, refs, err := scan(source)
	if err != nil {
		return nil, err
	}
	c := &Condition{source: source, refs: make(map[string]reference, len(refs))}
	options := append(library(),
		cel.Variable("method", cel.StringType),
		cel.Variable("host", cel.StringType),
		cel.Variable("path", cel.StringType),
		cel.Variable("caller", cel.StringType),
	)
	for _, r := range refs {
		kind := cel.StringType
		if r.isBody && r.path.Many() {
			kind = cel.ListType(cel.StringType)
		}
		options = append(options, cel.Variable(r.variable, kind))
		c.refs[r.variable] = r
		c.body = c.body || r.isBody
	}
	env, err := cel.NewCustomEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("preparing conditions: %w", err)
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, refs.explain(issues)
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("condition is a %s, not true or false", ast.OutputType())
	}
	c.program, err = env.Program(ast, cel.CostLimit(maxCost))
	if err != nil {
		return nil, fmt.Errorf("preparing condition: %w", err)
	}
	return c, nil
}

// explain returns the first mistake, in the words of who wrote the condition.
func (refs references) explain(issues *cel.Issues) error {
	message := issues.Err().Error()
	for _, e := range issues.Errors() {
		message = e.Message
		break
	}
	// The highest numbers first, as ref_1 begins ref_10.
	for i := len(refs) - 1; i >= 0; i-- {
		message = strings.ReplaceAll(message, refs[i].variable, "{"+refs[i].key+"}")
	}
	if strings.Contains(message, "'_==_'") || strings.Contains(message, "'_!=_'") || strings.Contains(message, "'_+_'") {
		message += "; amounts are compared and added as in decimal({ciba.body.amount}) == decimal(1000)"
	}
	return errors.New(message)
}

// String returns the condition as it was written.
func (c *Condition) String() string { return c.source }

// ReadsBody reports whether the condition has a field of the body.
func (c *Condition) ReadsBody() bool { return c.body }

// Prefixes returns the XML namespace prefixes in its paths into the body.
func (c *Condition) Prefixes() []string {
	var prefixes []string
	for _, r := range c.refs {
		prefixes = append(prefixes, r.path.Prefixes()...)
	}
	return prefixes
}

// Holds evaluates the condition: whether the request needs an approval. It is
// true, with an error that says why, if a field on which the answer depended is
// missing or of the wrong type, or something else went wrong. Errors repeat
// nothing from the request.
func (c *Condition) Holds(r Request) (bool, error) {
	a := &activation{refs: c.refs, request: r}
	result, _, err := c.program.Eval(a)
	if a.failure != nil {
		// Also where the rest of the condition gives an answer all the same.
		return true, a.failure
	}
	if err != nil {
		return true, fmt.Errorf("evaluating condition: %w", err)
	}
	holds, ok := result.(types.Bool)
	if !ok {
		return true, errors.New("evaluating condition: no answer")
	}
	return bool(holds), nil
}

// activation looks up the variables of a condition when they are needed. It is
// used by one evaluation.
type activation struct {
	refs    map[string]reference
	request Request
	failure error // the first
}

// Parent implements cel.Activation.
func (a *activation) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "method":
		return a.request.Method, true
	case "host":
		return a.request.Host, true
	case "path":
		return a.request.Path, true
	case "caller":
		return a.request.Caller, true
	}
	r, found := a.refs[name]
	if !found {
		return nil, false
	}
	value, err := a.resolve(r)
	if err != nil {
		err = fmt.Errorf("placeholder {%s}: %w", r.key, err)
		if a.failure == nil {
			a.failure = err
		}
		return types.WrapErr(err), true
	}
	return value, true
}

func (a *activation) resolve(r reference) (any, error) {
	if !r.isBody {
		text, known, err := a.request.Placeholder(r.key)
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, errUnknownPlaceholder
		}
		return text, nil
	}
	values, err := a.request.Field(r.path)
	switch {
	case err != nil:
		return nil, err
	case r.path.Many():
		return values, nil
	case len(values) != 1:
		return nil, errNotOne
	default:
		return values[0], nil
	}
}

// Interface guard
var _ cel.Activation = (*activation)(nil)

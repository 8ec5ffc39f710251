package idp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/provider"
)

func init() {
	caddy.RegisterModule(new(CELPolicy))
}

// Bounds of what an expression may cost. Most cost less than a hundred.
const (
	maxCELCost       = 100_000
	celInterruptRate = 100
	maxCELExpression = 4096
)

// CELPolicy lets requests through for which an expression of the Common Expression
// Language is true. It has these variables:
//
//   - `client`: a map with id and name;
//   - `user`: a map with subject, username, name, and claims, a map;
//   - `scopes`, `resources`, `acr_values`: lists of strings;
//   - `binding_message`: a string, empty if there is none;
//   - `details`: the list of authorization details, whose elements are maps;
//   - `context`: the object of request_context, empty if there is none;
//   - `parameters`: a map of the parameters that the provider does not know itself;
//   - `source`: the address that the request comes from, or an empty string;
//   - `signed`: whether the client has signed the request;
//   - `lifetime` and `received`: a duration and a timestamp.
//
// Numbers in details and context are int if they are whole, else double; numbers of
// both kinds can be compared. Amounts are as the client has sent them, often in a
// string: write double(d.amount). The functions of strings of cel-go are there.
//
// What fails while it is evaluated, such as a member that is missing, refuses the
// request.
type CELPolicy struct {
	// The expression, which gives true or false. Required.
	Expression string `json:"expression,omitempty"`

	// The error code that the client gets if it is false: access_denied,
	// invalid_request, invalid_scope, invalid_target, invalid_binding_message,
	// invalid_authorization_details, expired_login_hint_token, unauthorized_client
	// or unknown_user_id.
	// Default: access_denied.
	Error string `json:"error,omitempty"`

	// What a developer of the client is told besides, in ASCII without quotes and
	// backslashes. Default: nothing.
	Description string `json:"description,omitempty"`

	program cel.Program
	logger  *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*CELPolicy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  policyNamespace + ".cel",
		New: func() caddy.Module { return new(CELPolicy) },
	}
}

// Provision compiles the expression.
func (c *CELPolicy) Provision(ctx caddy.Context) error {
	c.logger = ctx.Logger()
	return c.check()
}

// check finds mistakes, and compiles the expression.
func (c *CELPolicy) check() error {
	if c.Expression == "" || len(c.Expression) > maxCELExpression {
		return fmt.Errorf("a policy needs an expression of 1 to %d characters", maxCELExpression)
	}
	if c.Error != "" && !slices.Contains(provider.RefusalCodes(), c.Error) {
		return fmt.Errorf("policy error '%s' must be one of: %s", c.Error, strings.Join(provider.RefusalCodes(), ", "))
	}
	if strings.ContainsFunc(c.Description, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return errors.New("policy description must be ASCII without quotes and backslashes")
	}
	env, err := celEnvironment()
	if err != nil {
		return fmt.Errorf("preparing policy: %w", err)
	}
	ast, issues := env.Compile(c.Expression)
	if issues.Err() != nil {
		return fmt.Errorf("policy expression: %w", issues.Err())
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return fmt.Errorf("policy expression gives %s, and must give true or false", ast.OutputType())
	}
	c.program, err = env.Program(ast, cel.CostLimit(maxCELCost), cel.InterruptCheckFrequency(celInterruptRate))
	if err != nil {
		return fmt.Errorf("preparing policy expression: %w", err)
	}
	return nil
}

// celEnvironment declares what expressions can use.
func celEnvironment() (*cel.Env, error) {
	texts := cel.ListType(cel.StringType)
	object := cel.MapType(cel.StringType, cel.DynType)
	return cel.NewEnv(
		cel.CrossTypeNumericComparisons(true), ext.Strings(),
		cel.Variable("client", cel.MapType(cel.StringType, cel.StringType)), cel.Variable("user", object),
		cel.Variable("scopes", texts), cel.Variable("resources", texts), cel.Variable("acr_values", texts),
		cel.Variable("binding_message", cel.StringType), cel.Variable("details", cel.ListType(object)),
		cel.Variable("context", object), cel.Variable("parameters", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("source", cel.StringType), cel.Variable("signed", cel.BoolType),
		cel.Variable("lifetime", cel.DurationType), cel.Variable("received", cel.TimestampType),
	)
}

// Check implements provider.Policy.
func (c *CELPolicy) Check(ctx context.Context, r *provider.PolicyRequest) error {
	variables, err := celVariables(r)
	if err != nil {
		return err
	}
	result, _, err := c.program.ContextEval(ctx, variables)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		// It says which member is missing, and may repeat what is in the request.
		c.logger.Warn("a policy could not be evaluated for a request, which is refused", zap.String("client", r.Client.ID), zap.String("expression", c.Expression))
	}
	if err != nil || result.Value() != true {
		return &provider.Refusal{Code: c.Error, Description: c.Description}
	}
	return nil
}

// celVariables is a request as expressions see it.
func celVariables(r *provider.PolicyRequest) (map[string]any, error) {
	details, circumstances := []any{}, map[string]any{}
	for _, part := range []struct {
		data json.RawMessage
		into any
	}{{r.AuthorizationDetails, &details}, {r.Context, &circumstances}} {
		if len(part.data) == 0 {
			continue
		}
		err := decodeNumbers(part.data, part.into)
		if err != nil {
			return nil, fmt.Errorf("decoding request: %w", err)
		}
	}
	userClaims := r.User.Claims
	if userClaims == nil {
		userClaims = map[string]any{}
	}
	return map[string]any{
		"client": map[string]string{"id": r.Client.ID, "name": r.Client.Name},
		"user":   map[string]any{"subject": r.User.ID, "username": r.User.Username, "name": r.User.Name, "claims": userClaims},
		"scopes": r.Scopes, "resources": r.Resources, "acr_values": r.ACRValues,
		"binding_message": r.BindingMessage, "details": exactNumbers(details), "context": exactNumbers(circumstances),
		"parameters": r.Parameters, "source": r.Source, "signed": r.Signed,
		"lifetime": r.Lifetime, "received": r.Received,
	}, nil
}

// decodeNumbers decodes one JSON value without rounding its numbers.
func decodeNumbers(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	err := decoder.Decode(into)
	if err != nil {
		return err
	}
	_, err = decoder.Token()
	if !errors.Is(err, io.EOF) {
		return errors.New("there is more behind the value")
	}
	return nil
}

// exactNumbers makes whole numbers int64 and others float64. What is too large for
// that is infinite, and so above every bound.
func exactNumbers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			value[name] = exactNumbers(member)
		}
	case []any:
		for i, element := range value {
			value[i] = exactNumbers(element)
		}
	case json.Number:
		whole, err := value.Int64()
		if err == nil {
			return whole
		}
		number, err := value.Float64()
		if err != nil {
			return math.Inf(1)
		}
		return number
	}
	return value
}

// Interface guards
var (
	_ caddy.Provisioner = (*CELPolicy)(nil)
	_ Policy            = (*CELPolicy)(nil)
)

package policy

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"strconv"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// decimalType is the type of amounts in conditions.
var decimalType = cel.OpaqueType("decimal")

// decimal is an exact number: amounts are never made floating-point numbers.
type decimal struct{ value *big.Rat }

// decimalText is how a number is written that all programs read alike: without
// signs of thousands, leading zeros, a plus sign or blanks. Numbers that are
// written as in some language, such as 1.000,00, are none.
var decimalText = regexp.MustCompile(`^-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?$`)

var errNotDecimal = errors.New("a value is not a decimal number")

// parseDecimal reads a number as it stands in a body. Its error does not repeat
// the text.
func parseDecimal(text string) (decimal, error) {
	if !decimalText.MatchString(text) {
		return decimal{}, errNotDecimal
	}
	value, ok := new(big.Rat).SetString(text)
	if !ok {
		return decimal{}, errNotDecimal
	}
	return decimal{value: value}, nil
}

// toDecimal returns the number that an operand is.
func toDecimal(v ref.Val) (decimal, error) {
	switch v := v.(type) {
	case decimal:
		return v, nil
	case types.Int:
		return decimal{value: new(big.Rat).SetInt64(int64(v))}, nil
	case types.Double:
		// A constant of the condition's: the shortest decimal that gives the same
		// floating-point number is the one that was written.
		return parseDecimal(strconv.FormatFloat(float64(v), 'f', -1, 64))
	case types.String:
		return parseDecimal(string(v))
	default:
		return decimal{}, errNotDecimal
	}
}

// ConvertToNative implements ref.Val.
func (d decimal) ConvertToNative(desc reflect.Type) (any, error) {
	return nil, fmt.Errorf("converting a decimal to %s is not supported", desc)
}

// ConvertToType implements ref.Val.
func (d decimal) ConvertToType(to ref.Type) ref.Val {
	switch to {
	case types.TypeType:
		return decimalType
	default:
		return types.NewErr("converting a decimal to %s is not supported", to.TypeName())
	}
}

// Equal implements ref.Val.
func (d decimal) Equal(other ref.Val) ref.Val {
	o, ok := other.(decimal)
	return types.Bool(ok && d.value.Cmp(o.value) == 0)
}

// Type implements ref.Val.
func (d decimal) Type() ref.Type { return decimalType }

// Value implements ref.Val.
func (d decimal) Value() any { return d.value.RatString() }

// Interface guard
var _ ref.Val = decimal{}

package policy

import (
	"fmt"
	"math/big"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// library is what conditions may use: the standard library of CEL without what
// would compare amounts as texts or as floating-point numbers, and with decimals
// in its place.
func library() []cel.EnvOption {
	subset := env.NewLibrarySubset()
	for _, name := range []string{
		operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
		operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo, operators.Negate,
		"double", "uint", "bytes", "dyn", "type", "timestamp", "duration",
	} {
		subset.AddExcludedFunctions(env.NewFunction(name))
	}
	options := []cel.EnvOption{cel.StdLib(cel.StdLibSubset(subset))}
	for name, holds := range map[string]func(order int) bool{
		operators.Less:          func(order int) bool { return order < 0 },
		operators.LessEquals:    func(order int) bool { return order <= 0 },
		operators.Greater:       func(order int) bool { return order > 0 },
		operators.GreaterEquals: func(order int) bool { return order >= 0 },
	} {
		options = append(options, numeric(name, numbers, cel.BoolType, func(a, b *big.Rat) ref.Val {
			return types.Bool(holds(a.Cmp(b)))
		}))
	}
	// Texts are not added: it could be their joining that is meant.
	counted := map[string]*cel.Type{"int": cel.IntType, "double": cel.DoubleType, "decimal": decimalType}
	for name, compute := range map[string]func(z, a, b *big.Rat) *big.Rat{
		operators.Add:      (*big.Rat).Add,
		operators.Subtract: (*big.Rat).Sub,
		operators.Multiply: (*big.Rat).Mul,
	} {
		options = append(options, numeric(name, counted, decimalType, func(a, b *big.Rat) ref.Val {
			return decimal{value: compute(new(big.Rat), a, b)}
		}))
	}
	return append(options, decimalFunction(), sumFunction())
}

// numbers are the types that have an order, which is always that of decimals.
var numbers = map[string]*cel.Type{
	"string": cel.StringType, "int": cel.IntType, "double": cel.DoubleType, "decimal": decimalType,
}

// numeric declares an operator for all pairs of types.
func numeric(name string, operands map[string]*cel.Type, result *cel.Type, apply func(a, b *big.Rat) ref.Val) cel.EnvOption {
	binding := cel.BinaryBinding(func(a, b ref.Val) ref.Val {
		left, err := toDecimal(a)
		if err != nil {
			return types.WrapErr(err)
		}
		right, err := toDecimal(b)
		if err != nil {
			return types.WrapErr(err)
		}
		return apply(left.value, right.value)
	})
	var overloads []cel.FunctionOpt
	for leftName, left := range operands {
		for rightName, right := range operands {
			id := fmt.Sprintf("ciba%s%s_%s", name, leftName, rightName)
			overloads = append(overloads, cel.Overload(id, []*cel.Type{left, right}, result, binding))
		}
	}
	return cel.Function(name, overloads...)
}

// decimalFunction declares decimal(x), for amounts that are compared by == or
// computed with.
func decimalFunction() cel.EnvOption {
	binding := cel.UnaryBinding(func(v ref.Val) ref.Val {
		d, err := toDecimal(v)
		if err != nil {
			return types.WrapErr(err)
		}
		return d
	})
	var overloads []cel.FunctionOpt
	for name, operand := range numbers {
		overloads = append(overloads, cel.Overload("ciba_decimal_"+name, []*cel.Type{operand}, decimalType, binding))
	}
	return cel.Function("decimal", overloads...)
}

// sumFunction declares sum(list), for the amounts of several items.
func sumFunction() cel.EnvOption {
	return cel.Function("sum", cel.Overload("ciba_sum", []*cel.Type{cel.ListType(cel.StringType)}, decimalType,
		cel.UnaryBinding(func(v ref.Val) ref.Val {
			list, ok := v.(traits.Lister)
			if !ok {
				return types.MaybeNoSuchOverloadErr(v)
			}
			total := new(big.Rat)
			for it := list.Iterator(); it.HasNext() == types.True; {
				d, err := toDecimal(it.Next())
				if err != nil {
					return types.WrapErr(err)
				}
				total.Add(total, d.value)
			}
			return decimal{value: total}
		})))
}

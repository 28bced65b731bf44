package cedar

import (
	"sync"

	cedarlang "github.com/cedar-policy/cedar-go"
	plainast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// unsure is a policy in the form in which Could evaluates it, made when it is first needed.
type unsure struct {
	once  sync.Once
	tests []*test
}

// testKind is what a test depends on.
type testKind uint8

const (
	testUnknown testKind = iota // the context
	testKnown                   // not on the context
	testNot
	testIf // also "and" and "or", which are short for it
	testHas
	testGranted
)

// test is an expression of type Bool, down to where the context comes in.
type test struct {
	kind  testKind
	parts [3]*test          // of testNot the first; of testIf what decides, then, else
	name  types.String      // of testHas: the attribute of the context
	known *cedarlang.Policy // of testKnown: permits if the test is true
}

// of returns the conditions of p as tests that must all be true.
func (u *unsure) of(p *cedarlang.Policy) []*test {
	u.once.Do(func() {
		for _, c := range (*ast.Policy)(p.AST()).Conditions {
			t := testOf(c.Body)
			if c.Condition == ast.ConditionUnless {
				t = negation(t)
			}
			u.tests = append(u.tests, t)
		}
	})
	return u.tests
}

func testOf(n ast.IsNode) *test {
	if !mentionsContext(n) {
		return knownTest(n)
	}
	switch n := n.(type) {
	case ast.NodeTypeNot:
		return negation(testOf(n.Arg))
	case ast.NodeTypeAnd:
		return &test{kind: testIf, parts: [3]*test{testOf(n.Left), testOf(n.Right), knownTest(ast.NodeValue{Value: types.False})}}
	case ast.NodeTypeOr:
		return &test{kind: testIf, parts: [3]*test{testOf(n.Left), knownTest(ast.NodeValue{Value: types.True}), testOf(n.Right)}}
	case ast.NodeTypeIfThenElse:
		return &test{kind: testIf, parts: [3]*test{testOf(n.If), testOf(n.Then), testOf(n.Else)}}
	case ast.NodeTypeHas:
		if isContext(n.Arg) {
			return &test{kind: testHas, name: n.Value}
		}
	case ast.NodeTypeAccess:
		if isContext(n.Arg) && n.Value == grantedAttr {
			return &test{kind: testGranted}
		}
	default: // all that matters is that the context is in it
	}
	return &test{kind: testUnknown}
}

func negation(t *test) *test { return &test{kind: testNot, parts: [3]*test{t}} }

func knownTest(n ast.IsNode) *test {
	p := ast.Permit().When(ast.NewNode(n))
	return &test{kind: testKnown, known: cedarlang.NewPolicyFromAST((*plainast.Policy)(p))}
}

func isContext(n ast.IsNode) bool {
	v, ok := n.(ast.NodeTypeVariable)
	return ok && v.Name == "context"
}

func mentionsContext(n ast.IsNode) bool {
	found := false
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		found = found || isContext(n)
		return !found
	})
	return found
}

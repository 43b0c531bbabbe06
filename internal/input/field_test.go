package input

import (
	"fmt"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/fault"
)

func TestArgumentsThatAreNoInputsAreUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"linux"}, `argument "linux" is not understood`},
		{[]string{"--images=a", "--", "--jobs=2"}, `argument "--jobs=2" is not understood`},
		{[]string{"-password=s3cr3t"}, "not defined: -password"},
		{[]string{"--jobs"}, "needs an argument: -jobs"},
		{[]string{"--no-immutable=false"}, "it takes no value"},
	} {
		_, err := Parse(&inputs{}, Sources{Step: "push", Args: tc.args})
		if fault.Code(err) != fault.ExitUsage || !strings.Contains(fmt.Sprint(err), tc.want) {
			t.Errorf("%q: error %v (exit code %d), want exit code 2 and %q", tc.args, err, fault.Code(err), tc.want)
		}
	}
}

func TestTheLastFlagCountsAndListsGrow(t *testing.T) {
	got := inputs{Images: []string{"from before"}}
	if _, err := Parse(&got, Sources{Step: "push", Args: []string{"--jobs=1", "--images=a", "--jobs=2", "--images=b", "--immutable=false", "--immutable"}}); err != nil {
		t.Fatal(err)
	}
	if got.Jobs != 2 || strings.Join(got.Images, " ") != "a b" || !got.Frozen {
		t.Errorf("jobs %d, images %q, immutable %t; want 2, a and b, true", got.Jobs, got.Images, got.Frozen)
	}
}

func TestAWrongDeclarationIsFound(t *testing.T) {
	for _, tc := range []struct {
		target any
		want   string
	}{
		{inputs{}, "a pointer to a struct"},
		{&struct{ Jobs int }{}, "field Jobs has no name"},
		{&struct {
			Jobs float64 `name:"jobs"`
		}{}, "a type that cannot be read"},
		{&struct {
			A int `name:"a"`
			B int `name:"a"`
		}{}, "a is declared twice"},
		{&struct {
			Mode string `name:"mode" enum:"on,off"`
		}{}, "want on or off"},
		{&struct {
			Jobs int `name:"jobs" default:"many"`
		}{}, "a whole number"},
	} {
		if _, err := Describe(tc.target); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%T: error %v, want %q", tc.target, err, tc.want)
		}
	}
}

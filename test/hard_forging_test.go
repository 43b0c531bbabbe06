package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shout prints commands of CIs in every way that a log may have them.
const shout = `#!/bin/sh
printf '::set-output name=digest::forged\n  ::add-mask::forged\n\t::error file=forged,line=1::forged\n'
printf '##[group]forged\ntext ##[error]forged\n###[error]forged\n'
printf '\rforged\r::warning::forged\n'
printf '\033[0Ksection_start:1:forged\r\033[0Kforged\nsection_end:1:forged\r\033[0K\n'
printf '\033[31m::error::forged\033[0m\n\033]0;title\007::error::forged\n\033[2J\033[1;1H::error::forged\n\033c::error::forged\n'
printf '\302\240::error::forged\n\342\200\250::error::forged\n\302\205::error::forged\n\343\200\200::error::forged\n'
printf '\v::error::forged\n\f::error::forged\n\377\376::error::forged\n\302\23331m::error::forged\n\000::error::forged\n'
printf 'abc\010\010\010::error::forged\n##\033[31m[error]forged\n##\000[error]forged\n'
head -c 70000 /dev/zero | tr '\000' A
printf '::error::forged\n::endgroup::\n::stop-commands::forged\n' >&2
printf '\n::error::forged at the end'
`

// forgingFiles are Dockerfiles that say such things in all other places.
func forgingFiles() map[string]string {
	return map[string]string{
		"shout.sh": shout,
		"shouting.Dockerfile": "FROM base AS x\nCOPY shout.sh /\nLABEL l=\"::error::forged\"\nENV E=\"::error::forged ##[error]forged\"\n" +
			"RUN sh /shout.sh\nRUN <<EOF\n::error::forged || true\n##[error]forged\nEOF\n" +
			"RUN sh /shout.sh >&2; \x1b[31m::error::forged || exit 7\n",
		"described.Dockerfile": "# x: ::error::forged ##[error]forged\nARG X=\"::error::forged\"\n# ::error::forged\nFROM base AS x\n" +
			"# Y \x1b[31m::error::forged ##[error]forged\nARG Y=##[error]forged\n" +
			"RUN --mount=type=secret,id=::error::forged --mount=type=cache,id=::error::forged,target=/c true\n",
		"linted.Dockerfile":   "from base\nENV SECRET_TOKEN ::error::forged\nMAINTAINER ::error::forged ##[error]forged\nWORKDIR ::error::forged\ncmd ::error::forged\n",
		"unknown.Dockerfile":  "FROM base\n::error::forged\n",
		"stage.Dockerfile":    "FROM base AS ::error::forged\n",
		"base.Dockerfile":     "FROM ::error::forged\n",
		"platform.Dockerfile": "FROM --platform=::error::forged base\n",
		"missing.Dockerfile":  "FROM base\nCOPY ::error::forged ##[error]forged /\n",
		"syntax.Dockerfile":   "# syntax=::error::forged\nFROM base\n",
		"port.Dockerfile":     "FROM base\nEXPOSE ::error::forged\n",
		"quoted.Dockerfile":   "FROM base\nENV X=\"\n::error::forged\n##[error]forged\"\n",
	}
}

// What a Dockerfile or a step says is never taken for a command of the CI: of
// those there are only the step's own.
func TestNothingOfABuildIsACommandOfTheCI(t *testing.T) {
	s := newBuildWorld(t, forgingFiles()).copied(t)
	files, err := filepath.Glob(filepath.Join(s.dir, "*.Dockerfile"))
	check(t, err)
	for _, file := range files {
		name := filepath.Base(file)
		var ways [][]string
		switch name {
		case "shouting.Dockerfile":
			for _, progress := range []string{"auto", "quiet", "rawjson"} {
				ways = append(ways, []string{"--no-cache", "--progress=" + progress})
			}
		case "described.Dockerfile", "linted.Dockerfile":
			ways = [][]string{{"--call=check"}, {"--call=outline"}, {"--call=targets"}}
		}
		for _, way := range append(ways, nil) {
			args := append([]string{"--file=" + name}, way...)
			for ci, find := range map[string]func(string) []string{"GITHUB_ACTIONS": githubCommands, "GITLAB_CI": gitlabCommands} {
				t.Run(strings.Join(append([]string{ci}, args...), " "), func(t *testing.T) {
					s.checkOwnCommands(t, ci, args, find)
				})
			}
		}
	}
}

// checkOwnCommands runs build, which may fail, and looks for commands in all it
// says.
func (s *scene) checkOwnCommands(t *testing.T, ci string, args []string, find func(string) []string) {
	outputs := filepath.Join(t.TempDir(), "outputs")
	summary := filepath.Join(t.TempDir(), "summary")
	cmd := s.command("build", args...)
	cmd.Env = append(cmd.Env, ci+"=true", "GITHUB_OUTPUT="+outputs, "GITHUB_STEP_SUMMARY="+summary)
	var said bytes.Buffer // a runner reads both streams
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if strings.Contains(args[0], "shouting") && bytes.Count(said.Bytes(), []byte("::error::forged")) < 5 {
		t.Errorf("what the step said is not there: the test looks at the wrong thing:\n%s", &said)
	}
	for _, command := range find(said.String()) {
		if !isOwn(command) {
			t.Errorf("a command that is not the step's own: %.200q", command)
		}
	}
	text, err := os.ReadFile(outputs)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	checkOutputs(t, string(text), cmd)
}

// githubCommands are the lines that GitHub's runner takes for commands. It trims
// what .NET calls white space, and splits lines at carriage returns as well.
// https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs
func githubCommands(said string) (found []string) {
	for _, line := range strings.FieldsFunc(said, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##[") {
			found = append(found, line)
		}
	}
	return found
}

// gitlabCommands are what a log of GitLab takes for more than text: sections,
// carriage returns and control sequences.
// https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections
func gitlabCommands(said string) (found []string) {
	own := regexp.MustCompile("\x1b\\[0Ksection_(?:start|end):[0-9]+:iw_build\r\x1b\\[0K")
	for line := range strings.Lines(own.ReplaceAllString(said, "")) {
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 }) {
			found = append(found, line)
		}
	}
	return found
}

// isOwn tells whether build itself says a command: its groups, and an annotation
// whose place is in a file of the checkout.
func isOwn(command string) bool {
	return regexp.MustCompile(`^::group::Build$|^::endgroup::$|^::(?:error|warning) (?:endLine=\d+,)?file=[a-z]+\.Dockerfile,(?:line=\d+,)?title=[^:]*::[^\x00-\x1f]*$`).MatchString(command) &&
		!strings.Contains(command, "##[")
}

// checkOutputs holds the names of the outputs that a build set to be those of a
// build.
func checkOutputs(t *testing.T, text string, cmd *exec.Cmd) {
	t.Helper()
	var names []string
	for text != "" {
		head, rest, _ := strings.Cut(text, "\n")
		name, delimiter, ok := strings.Cut(head, "<<")
		_, after, closed := strings.Cut("\n"+rest, "\n"+delimiter+"\n")
		if !ok || !closed {
			t.Fatalf("not an output: %q", head)
		}
		names, text = append(names, name), after
	}
	if !cmd.ProcessState.Success() || len(names) == 0 {
		return
	}
	if diff := cmp.Diff([]string{"digest", "imageid", "metadata", "changed"}, names); diff != "" {
		t.Errorf("the outputs (-want +got):\n%s", diff)
	}
}

package step

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/imagewright/imagewright/internal/input"
)

const (
	helpWidth  = 96 // columns; fits a CI's log and half a screen
	helpIndent = 6
)

// writeHelp prints all that a user must know to call s: what it does, examples,
// the inputs in groups, and how their environment names are made.
func writeHelp(w io.Writer, s Step) error {
	d := s.Declaration()
	inputs, err := input.Describe(s.Inputs())
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w) // keeps the first error
	usage := "imagewright-" + d.Name
	if len(d.Commands) > 0 {
		usage += " [command]"
	}
	fmt.Fprintf(b, "%s\n\nUsage: %s [--input=value ...]\n", d.Summary, usage)
	if d.Description != "" {
		fmt.Fprintf(b, "\n%s", wrap(d.Description, 0))
	}
	if len(d.Commands) > 0 {
		fmt.Fprintf(b, "\nCommands:\n")
		for _, c := range d.Commands {
			fmt.Fprintf(b, "  %-8s  %s\n", c.Name, c.Summary)
		}
	}
	if len(d.Examples) > 0 {
		fmt.Fprintf(b, "\nExamples:\n")
		for _, e := range d.Examples {
			fmt.Fprintf(b, "%s  $ %s\n", wrap("# "+e.Text, 2), e.Command)
		}
	}
	for _, group := range groups(inputs) {
		fmt.Fprintf(b, "\n%s:\n", group.name)
		for _, in := range group.inputs {
			writeInput(b, d.Name, in)
		}
	}
	if len(d.Outputs) > 0 {
		fmt.Fprintf(b, "\nOutputs:\n")
		for _, o := range d.Outputs {
			fmt.Fprintf(b, "  %-10s  %s\n", o.Name, o.Help)
		}
	}
	fmt.Fprintf(b, "\nSources:\n%s", wrap(sources(d.Name), 2))
	return b.Flush()
}

// sources explains precedence and names with an input that every step has.
func sources(step string) string {
	names := input.Input{Name: "log-level"}.EnvNames(step)
	return fmt.Sprintf("A flag wins over the environment, the environment over imagewright.yaml, and that over the default. "+
		"The input log-level is also %s, or log-level below the key %s in imagewright.yaml. "+
		"A list takes one item a line, the flag several times, or a JSON array. "+
		"Secrets are read from the environment only. "+
		"Exit codes: 0 done, 1 failed, 2 bad input, 3 refused by policy.", strings.Join(names, ", "), step)
}

type group struct {
	name   string
	inputs []input.Input
}

// groups sorts inputs under their headings, in the order of first appearance.
func groups(inputs []input.Input) []*group {
	var all []*group
	byName := map[string]*group{}
	for _, in := range inputs {
		if in.Hidden || in.Name == "command" {
			continue
		}
		name := in.Group
		if name == "" {
			name = "Inputs"
		}
		if byName[name] == nil {
			byName[name] = &group{name: name}
			all = append(all, byName[name])
		}
		byName[name].inputs = append(byName[name].inputs, in)
	}
	return all
}

func writeInput(w io.Writer, step string, in input.Input) {
	head := "--" + in.Name
	value := in.Placeholder
	if value == "" {
		value = strings.ToUpper(string(in.Kind))
	}
	if len(in.Enum) > 0 {
		value = strings.Join(in.Enum, "|")
	}
	switch {
	case in.Secret:
		head = in.EnvNames(step)[0] + "  (environment only)"
	case in.Kind != input.Bool:
		head += "=" + value
	}
	if in.Default != "" {
		head += fmt.Sprintf("  (default %s)", in.Default)
	}
	fmt.Fprintf(w, "  %s\n%s", head, wrap(in.Help, helpIndent))
}

// wrap breaks text, paragraph by paragraph, into lines of helpWidth columns.
func wrap(text string, indent int) string {
	var b strings.Builder
	margin := strings.Repeat(" ", indent)
	for paragraph := range strings.SplitSeq(text, "\n") {
		line := margin
		for _, word := range strings.Fields(paragraph) {
			if len(line)+1+len(word) > helpWidth && line != margin {
				b.WriteString(line + "\n")
				line = margin
			}
			if line != margin {
				line += " "
			}
			line += word
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

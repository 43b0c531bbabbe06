package manifest

import (
	"bytes"
	"encoding/json"

	"github.com/imagewright/imagewright/internal/input"
)

type object = map[string]any

// schema is the JSON schema of imagewright.yaml, for editors.
// https://json-schema.org/draft-07
func schema(steps []Step) ([]byte, error) {
	properties := object{"version": object{"const": 1, "description": "Version of this file's format."}}
	inEnvironments := object{}
	for _, s := range steps {
		inputs := object{}
		for _, in := range s.Inputs {
			if !in.Secret {
				inputs[in.Name] = schemaOf(in)
			}
			if in.InEnvironment() {
				inEnvironments[in.Name] = schemaOf(in)
			}
		}
		properties[s.Name] = object{"type": "object", "description": s.Summary, "properties": inputs, "additionalProperties": false}
	}
	properties["environments"] = object{
		"type":        "object",
		"description": "Named sets of inputs, one of which the input env picks; they lie over the step's own.",
		"additionalProperties": object{
			"type": []string{"object", "null"}, "properties": inEnvironments, "additionalProperties": false,
		},
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(object{
		"$schema":              "http://json-schema.org/draft-07/schema#",
		"title":                "imagewright.yaml",
		"type":                 "object",
		"required":             []string{"version"},
		"properties":           properties,
		"additionalProperties": false,
	})
	return b.Bytes(), err
}

func schemaOf(in input.Input) object {
	property := object{"description": describe(in)}
	item := object{"type": "string"}
	if len(in.Enum) > 0 {
		item["enum"] = in.Enum
	}
	switch in.Kind {
	case input.Bool:
		property["type"] = "boolean"
	case input.Int:
		property["type"], property["minimum"] = "integer", 0
	case input.List:
		property["anyOf"] = []object{{"type": "array", "items": item}, {"type": "string"}}
	default:
		for key, value := range item {
			property[key] = value
		}
	}
	return property
}

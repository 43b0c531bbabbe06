package registry

import (
	"context"

	"github.com/google/go-containerregistry/pkg/name"
)

// target is what a request is for. It travels in the request's context, so
// that the transport never has to guess from an address which credentials to
// use: an answer that redirects to another registry finds none.
type target struct {
	repo   name.Repository
	need   Access // of this request
	access Access // to ask a token for: that of the client, where it is more

	// from is a repository to mount a blob from; nil for none.
	from *name.Repository

	// once keeps the retry from sending the request again as it is: an upload
	// that broke off may have left bytes behind, and starts anew.
	once bool
}

func (t target) host() string { return t.repo.RegistryStr() }

// scopes returns the scopes to ask a token for, the best first; the others are
// for token servers that refuse it. Distribution wants delete to delete, Quay
// refuses a scope that has it, and some know only the wildcard; and what can
// only be read is asked for less than the client's access.
// https://github.com/containers/image/blob/main/docker/docker_client.go
func (t target) scopes() []string {
	var actions []string
	switch t.access {
	case Delete:
		actions = []string{"delete,pull,push", "*", "pull,push"}
	case Push:
		actions = []string{"pull,push"}
	}
	if t.need == Pull {
		actions = append(actions, "pull")
	}
	scopes := make([]string, len(actions))
	for i, a := range actions {
		scopes[i] = "repository:" + t.repo.RepositoryStr() + ":" + a
		if t.from != nil {
			scopes[i] += " repository:" + t.from.RepositoryStr() + ":pull"
		}
	}
	return scopes
}

type targetKey struct{}

func withTarget(ctx context.Context, t target) context.Context {
	return context.WithValue(ctx, targetKey{}, t)
}

func targetOf(ctx context.Context) (target, bool) {
	t, ok := ctx.Value(targetKey{}).(target)
	return t, ok
}

// target returns the target of a request in repo that needs access.
func (c *Client) target(repo name.Repository, need Access) target {
	return target{repo: repo, need: need, access: max(need, c.access)}
}

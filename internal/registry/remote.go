package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Descriptor opens ref for go-containerregistry, which then reads manifests,
// configs and layers when they are asked for: through this client, and as long
// as ctx lives.
func (c *Client) Descriptor(ctx context.Context, ref name.Reference) (*remote.Descriptor, error) {
	ctx = withTarget(ctx, c.target(ref.Context(), Pull))
	d, err := remote.Get(ref,
		remote.WithContext(ctx),
		remote.WithTransport(below{c}),
		// All that the library has of these comes from the transport below it.
		remote.WithAuth(authn.Anonymous),
		remote.WithRetryStatusCodes(),
		remote.WithRetryPredicate(func(error) bool { return false }),
	)
	if err != nil {
		return nil, c.remoteError(ref, err)
	}
	return d, nil
}

// remoteError gives an error of go-containerregistry this package's form.
func (c *Client) remoteError(ref name.Reference, err error) error {
	t := c.target(ref.Context(), Pull)
	address := c.url(t, "manifests", ref.Identifier())
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		return &Error{Method: http.MethodGet, URL: address, Registry: t.host(), Status: answer.StatusCode,
			anonymous: c.session(t.host()).anonymous(t)}
	}
	req, reqErr := http.NewRequest(http.MethodGet, address, nil)
	if reqErr != nil {
		return reqErr
	}
	return c.transportError(req, err)
}

// below is the transport that go-containerregistry is given.
type below struct{ client *Client }

// RoundTrip implements [http.RoundTripper].
func (b below) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/v2/" {
		// The library asks whether and how to log in. It need not.
		return &http.Response{
			Status:     "200 OK",
			StatusCode: http.StatusOK,
			Proto:      "HTTP/1.1",
			ProtoMajor: 1,
			ProtoMinor: 1,
			Header:     http.Header{},
			Body:       io.NopCloser(strings.NewReader("")),
			Request:    req,
		}, nil
	}
	resp, err := b.client.do(req.Clone(req.Context())) // redirects are followed here, by our rules
	if err != nil {
		return nil, err
	}
	resp.Request = req
	return resp, nil
}

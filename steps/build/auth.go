package build

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	sessionauth "github.com/moby/buildkit/session/auth"
	"golang.org/x/crypto/nacl/sign"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/registry/auth"
	"github.com/imagewright/imagewright/internal/step"
)

const (
	hubHost      = "registry-1.docker.io" // where Docker Hub answers
	tokenTimeout = 30 * time.Second       // a token service answers in milliseconds
)

// credentials answers the engine's questions who we are to a registry, over
// BuildKit's session. It fetches bearer tokens itself, so that passwords stay
// in this process; only a registry with basic authentication makes the engine
// ask for them.
//
// BuildKit's own provider keeps key seeds in ~/.docker, trusts the system's
// certificate authorities alone, and sends a password to whatever realm a
// registry names.
type credentials struct {
	keychain  authn.Keychain
	plain     auth.PlainHTTP
	transport http.RoundTripper
	seed      []byte // of this run
}

func newCredentials(keychain authn.Keychain, plain auth.PlainHTTP, transport http.RoundTripper) *credentials {
	seed := make([]byte, sha256.Size)
	rand.Read(seed) // never fails
	return &credentials{keychain, plain, transport, seed}
}

// credentials are those that the inputs and job's environment give.
func (s *Step) credentials(job *step.Job) (*credentials, error) {
	in := &s.inputs
	authorities, err := auth.CAs(job.CABundle())
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("input ca-bundle: %w", err), "")
	}
	keychain := auth.Keychain(auth.Options{
		Registries: []string{cmp.Or(in.Registry, "docker.io")},
		Username:   in.Username,
		Password:   in.Password,
		Environ:    job.Environ,
	})
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = job.Proxy()
	transport.TLSClientConfig = &tls.Config{RootCAs: authorities}
	return newCredentials(keychain, in.Insecure, transport), nil
}

// Register implements session.Attachable.
func (c *credentials) Register(server *grpc.Server) { sessionauth.RegisterAuthServer(server, c) }

// Credentials implements auth.AuthServer.
func (c *credentials) Credentials(ctx context.Context, req *sessionauth.CredentialsRequest) (*sessionauth.CredentialsResponse, error) {
	found, err := c.lookup(ctx, req.Host)
	if err != nil {
		return nil, err
	}
	if found.IdentityToken != "" {
		return &sessionauth.CredentialsResponse{Secret: found.IdentityToken}, nil
	}
	return &sessionauth.CredentialsResponse{Username: found.Username, Secret: found.Password}, nil
}

// FetchToken implements auth.AuthServer.
func (c *credentials) FetchToken(ctx context.Context, req *sessionauth.FetchTokenRequest) (*sessionauth.FetchTokenResponse, error) {
	found, err := c.lookup(ctx, req.Host)
	if err != nil {
		return nil, err
	}
	if found.RegistryToken != "" {
		return &sessionauth.FetchTokenResponse{Token: found.RegistryToken}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	realm, err := auth.Realm(req.Host, req.Realm, !c.plain.Has(req.Host), c.plain)
	if err != nil {
		return nil, status.Errorf(codes.PermissionDenied, "%s: %v", req.Host, err)
	}
	ask, err := auth.TokenRequest(ctx, realm, req.Service, &found, req.Scopes)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "the token server of %s: %v", req.Host, err)
	}
	resp, err := auth.SendTokenRequest(c.transport, ask)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "the token server of %s: %v", req.Host, err)
	}
	defer resp.Body.Close()
	return token(req.Host, resp)
}

// token reads a token server's answer. An error keeps its status, which the
// engine carries back to us, and drops its text: that is a stranger's.
func token(host string, resp *http.Response) (*sessionauth.FetchTokenResponse, error) {
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, status.Errorf(codes.Unauthenticated, "%s refused the credentials: 401 Unauthorized", host)
	default:
		return nil, status.Errorf(codes.Unavailable, "the token server of %s answered %d %s", host, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	value, lifetime, err := auth.ReadToken(resp.Body)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "the token server of %s: %v", host, err)
	}
	// No IssuedAt: the engine then counts from its own clock, which is ours.
	return &sessionauth.FetchTokenResponse{Token: value, ExpiresIn: int64(lifetime.Seconds())}, nil
}

// GetTokenAuthority implements auth.AuthServer: a key that tells the engine
// which of its tokens belong to this session.
func (c *credentials) GetTokenAuthority(ctx context.Context, req *sessionauth.GetTokenAuthorityRequest) (*sessionauth.GetTokenAuthorityResponse, error) {
	key := c.key(req.Host, req.Salt)
	return &sessionauth.GetTokenAuthorityResponse{PublicKey: key.Public().(ed25519.PublicKey)}, nil
}

// VerifyTokenAuthority implements auth.AuthServer.
func (c *credentials) VerifyTokenAuthority(ctx context.Context, req *sessionauth.VerifyTokenAuthorityRequest) (*sessionauth.VerifyTokenAuthorityResponse, error) {
	key := [ed25519.PrivateKeySize]byte(c.key(req.Host, req.Salt))
	return &sessionauth.VerifyTokenAuthorityResponse{Signed: sign.Sign(nil, req.Payload, &key)}, nil
}

func (c *credentials) key(host string, salt []byte) ed25519.PrivateKey {
	mac := hmac.New(sha256.New, c.seed)
	fmt.Fprintf(mac, "%d:%s", len(host), host)
	mac.Write(salt)
	return ed25519.NewKeyFromSeed(mac.Sum(nil))
}

func (c *credentials) lookup(ctx context.Context, host string) (authn.AuthConfig, error) {
	if host == hubHost {
		host = name.DefaultRegistry
	}
	registry, err := name.NewRegistry(host)
	if err != nil {
		return authn.AuthConfig{}, status.Errorf(codes.InvalidArgument, "%q is not a registry", host)
	}
	authenticator, err := authn.Resolve(ctx, c.keychain, registry)
	if err != nil {
		return authn.AuthConfig{}, status.Error(codes.Unauthenticated, err.Error())
	}
	found, err := authn.Authorization(ctx, authenticator)
	if err != nil {
		return authn.AuthConfig{}, status.Errorf(codes.Unauthenticated, "credentials for %s: %v", host, err)
	}
	return *found, nil
}

package build

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"

	dockerauth "github.com/containerd/containerd/v2/core/remotes/docker/auth"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/buildkit/session/auth"
	"golang.org/x/crypto/nacl/sign"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	hubHost       = "registry-1.docker.io" // where Docker Hub answers
	tokenLifetime = 60                     // seconds, when the token service does not say: its specification's default
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
	plainHTTP []string // hosts that may be spoken to without TLS, beside loopback
	http      *http.Client
	seed      []byte // of this run
}

func newCredentials(keychain authn.Keychain, plainHTTP []string, client *http.Client) *credentials {
	seed := make([]byte, sha256.Size)
	rand.Read(seed) // never fails
	return &credentials{keychain, plainHTTP, client, seed}
}

// Register implements session.Attachable.
func (c *credentials) Register(server *grpc.Server) { auth.RegisterAuthServer(server, c) }

// Credentials implements auth.AuthServer.
func (c *credentials) Credentials(ctx context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	found, err := c.lookup(ctx, req.Host)
	if err != nil {
		return nil, err
	}
	user, secret := login(found)
	return &auth.CredentialsResponse{Username: user, Secret: secret}, nil
}

// FetchToken implements auth.AuthServer.
func (c *credentials) FetchToken(ctx context.Context, req *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	found, err := c.lookup(ctx, req.Host)
	if err != nil {
		return nil, err
	}
	if found.RegistryToken != "" {
		return &auth.FetchTokenResponse{Token: found.RegistryToken, ExpiresIn: tokenLifetime}, nil
	}
	options := tokenOptions(req.Realm, found)
	options.Service, options.Scopes = req.Service, req.Scopes
	if err := c.checkRealm(req.Host, options); err != nil {
		return nil, err
	}
	if options.Secret != "" && options.Username == "" {
		return c.fetchByPost(ctx, options) // an identity token can't go into a basic header
	}
	token, err := dockerauth.FetchToken(ctx, c.http, nil, options)
	if needsPost(err) && options.Secret != "" {
		return c.fetchByPost(ctx, options)
	}
	if err != nil {
		return nil, tokenError(req.Host, err)
	}
	return answer(token.Token, token.ExpiresInSeconds), nil
}

// tokenOptions are those for a request to realm as found: no user for an
// identity token.
func tokenOptions(realm string, found authn.AuthConfig) dockerauth.TokenOptions {
	options := dockerauth.TokenOptions{Realm: realm}
	options.Username, options.Secret = login(found)
	return options
}

func (c *credentials) fetchByPost(ctx context.Context, options dockerauth.TokenOptions) (*auth.FetchTokenResponse, error) {
	token, err := dockerauth.FetchTokenWithOAuth(ctx, c.http, nil, "imagewright-build", options)
	if err != nil {
		return nil, tokenError(options.Service, err)
	}
	return answer(token.AccessToken, token.ExpiresInSeconds), nil
}

func answer(token string, seconds int) *auth.FetchTokenResponse {
	if seconds <= 0 {
		seconds = tokenLifetime
	}
	// No IssuedAt: the engine then counts from its own clock, which is ours.
	return &auth.FetchTokenResponse{Token: token, ExpiresIn: int64(seconds)}
}

// needsPost tells whether a token service may want the OAuth form instead of
// the GET that Docker Hub wants.
func needsPost(err error) bool {
	unexpected, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err)
	return ok && slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed}, unexpected.StatusCode)
}

// tokenError keeps the status, which the engine carries back to us, and drops
// the service's answer: its text is a stranger's.
func tokenError(host string, err error) error {
	unexpected, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err)
	switch {
	case ok && (unexpected.StatusCode == http.StatusUnauthorized || unexpected.StatusCode == http.StatusForbidden):
		return status.Errorf(codes.Unauthenticated, "%s refused the credentials: 401 Unauthorized", host)
	case ok:
		return status.Errorf(codes.Unavailable, "the token service of %s answered %s", host, unexpected.Status)
	}
	return status.Errorf(codes.Unavailable, "the token service of %s: %v", host, err)
}

// checkRealm refuses to send a password in clear text, unless the registry
// itself is spoken to so.
func (c *credentials) checkRealm(host string, options dockerauth.TokenOptions) error {
	realm, err := url.Parse(options.Realm)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "%s names an invalid token service", host)
	}
	if options.Secret == "" || realm.Scheme == "https" || c.mayBePlain(host) {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "%s wants its password sent to %s without TLS", host, realm.Redacted())
}

func (c *credentials) mayBePlain(host string) bool {
	bare, _, err := net.SplitHostPort(host)
	if err != nil {
		bare = host
	}
	if ip := net.ParseIP(bare); bare == "localhost" || ip != nil && ip.IsLoopback() {
		return true
	}
	return slices.Contains(c.plainHTTP, host) || slices.Contains(c.plainHTTP, bare)
}

// GetTokenAuthority implements auth.AuthServer: a key that tells the engine
// which of its tokens belong to this session.
func (c *credentials) GetTokenAuthority(ctx context.Context, req *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	key := c.key(req.Host, req.Salt)
	return &auth.GetTokenAuthorityResponse{PublicKey: key.Public().(ed25519.PublicKey)}, nil
}

// VerifyTokenAuthority implements auth.AuthServer.
func (c *credentials) VerifyTokenAuthority(ctx context.Context, req *auth.VerifyTokenAuthorityRequest) (*auth.VerifyTokenAuthorityResponse, error) {
	key := [ed25519.PrivateKeySize]byte(c.key(req.Host, req.Salt))
	return &auth.VerifyTokenAuthorityResponse{Signed: sign.Sign(nil, req.Payload, &key)}, nil
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

// login is the user and the secret of found.
func login(found authn.AuthConfig) (user, secret string) {
	if found.IdentityToken != "" {
		return "", found.IdentityToken
	}
	return found.Username, found.Password
}

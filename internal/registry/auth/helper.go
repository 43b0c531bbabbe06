package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/google/go-containerregistry/pkg/authn"
)

// helperTimeout bounds one run of a credential helper. They ask a cloud's
// metadata service at most; one that takes longer waits for a person.
const helperTimeout = 30 * time.Second

// maxHelperOutput bounds what a helper may print: one JSON object.
const maxHelperOutput = 1 << 20

// identityUser is the user name that marks the secret as an identity token.
// https://docs.docker.com/reference/cli/docker/login/#credential-helper-protocol
const identityUser = "<token>"

// askHelper runs docker-credential-<helper> for server. It returns nil when
// the helper knows no credentials.
func askHelper(ctx context.Context, env environ, helper, server string) (authn.Authenticator, error) {
	program := "docker-credential-" + helper
	if strings.ContainsAny(helper, `/\`) {
		return nil, fmt.Errorf("credential helper %q: a name is wanted, not a path", helper)
	}
	path, err := lookPath(env, program)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	got, err := client.Get(func(args ...string) client.Program {
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Env = env
		cmd.WaitDelay = time.Second // a child of the helper may hold the pipe
		return &helperRun{cmd: cmd}
	}, server)
	switch {
	case credentials.IsErrCredentialsNotFound(err):
		return nil, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", program, context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("%s: %w", program, withoutOutput(err))
	case got.Username == identityUser:
		return authn.FromConfig(authn.AuthConfig{Username: got.Username, IdentityToken: got.Secret}), nil
	case got.Username == "" && got.Secret == "":
		return nil, nil
	}
	return basic(got.Username, got.Secret), nil
}

// withoutOutput drops the helper's standard output from the library's error:
// a helper that printed the secret and then failed must not put it in a log.
func withoutOutput(err error) error {
	text, _, _ := strings.Cut(err.Error(), ", out: ")
	return errors.New(strings.TrimPrefix(text, "error getting credentials - err: "))
}

// lookPath finds program in the PATH of env: the process's own may differ.
func lookPath(env environ, program string) (string, error) {
	for _, dir := range filepath.SplitList(env.get("PATH")) {
		if !filepath.IsAbs(dir) {
			continue // never run what a checkout brought along
		}
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("credential helper %s is not on PATH", program)
}

// helperRun is a client.Program whose output is bounded and whose standard
// error is dropped: some helpers print what they are asked for there.
type helperRun struct{ cmd *exec.Cmd }

func (r *helperRun) Input(in io.Reader) { r.cmd.Stdin = in }

func (r *helperRun) Output() ([]byte, error) {
	var out bytes.Buffer
	r.cmd.Stdout = &boundedWriter{w: &out, left: maxHelperOutput}
	err := r.cmd.Run()
	return out.Bytes(), err
}

type boundedWriter struct {
	w    io.Writer
	left int
}

func (b *boundedWriter) Write(p []byte) (int, error) {
	if len(p) > b.left {
		return 0, errors.New("output is too large")
	}
	b.left -= len(p)
	return b.w.Write(p)
}

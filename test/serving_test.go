package test

import (
	"crypto/subtle"
	"flag"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// servingCommands are the scripts' commands that put files on the network, that
// is, on this machine's loopback.
func servingCommands() map[string]command {
	return map[string]command{
		"serve-files":   serveFiles,
		"serve-git":     serveGit,
		"serve-git-ssh": serveGitSSH,
	}
}

// serve-files [-user=NAME:PASSWORD] DIR puts a folder's address, http://…, into
// $FILES.
func serveFiles(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	dir, user := servedDir(ts, "serve-files", args)
	ts.Setenv("FILES", serve(ts, user, http.FileServer(http.Dir(dir))))
}

// serve-git [-user=NAME:PASSWORD] DIR puts the address of a checkout's
// repository, http://…/repository.git, into $GIT. Any commit can be fetched by
// its digest, as from GitHub and GitLab.
func serveGit(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	dir, user := servedDir(ts, "serve-git", args)
	git, err := exec.LookPath("git")
	ts.Check(err)
	root, err := os.MkdirTemp(ts.Getenv("WORK"), ".git-*")
	ts.Check(err)
	ts.Check(os.Symlink(filepath.Join(dir, ".git"), filepath.Join(root, "repository.git")))
	ts.Setenv("GIT", serve(ts, user, &cgi.Handler{
		Path: git,
		Args: []string{"http-backend"},
		Env: []string{
			"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + ts.Getenv("HOME"),
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=uploadpack.allowAnySHA1InWant", "GIT_CONFIG_VALUE_0=true",
		},
		Stderr: ts.Stderr(),
	})+"/repository.git")
}

func servedDir(ts *testscript.TestScript, command string, args []string) (dir, user string) {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.StringVar(&user, "user", "", "")
	parse(ts, flags, args)
	if flags.NArg() != 1 {
		ts.Fatalf("usage: %s [-user=name:password] dir", command)
	}
	return ts.MkAbs(flags.Arg(0)), user
}

// serve runs handler until the script ends, for user alone if there is one, and
// returns its address.
func serve(ts *testscript.TestScript, user string, handler http.Handler) string {
	name, password, _ := strings.Cut(user, ":")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gotName, gotPassword, _ := r.BasicAuth()
		if user != "" && subtle.ConstantTimeCompare([]byte(gotName+":"+gotPassword), []byte(name+":"+password)) == 0 {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	ts.Defer(server.Close)
	return server.URL
}

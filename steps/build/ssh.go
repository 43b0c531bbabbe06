package build

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/sshforward"
	"github.com/moby/buildkit/session/sshforward/sshprovider"

	"github.com/imagewright/imagewright/internal/fault"
)

const sshHint = "write default for the agent of SSH_AUTH_SOCK, or ID=SOCKET or ID=KEY,KEY with paths; an entry with commas stands in double quotes"

// withGitSSH adds the agent "default" to records where a context is a
// repository that is read over SSH, as docker buildx does.
func withGitSSH(records []string, addresses []*address) []string {
	needed := slices.ContainsFunc(addresses, func(a *address) bool { return a.SSH })
	if !needed || len(records) > 0 {
		return records
	}
	return []string{sshforward.DefaultID}
}

// sshForward is what the builder reaches the agents and keys of the input ssh
// through; nil without any. No key leaves this process: steps have it sign.
func sshForward(records []string, from secretSources) (session.Attachable, error) {
	if len(records) == 0 {
		return nil, nil
	}
	var agents []sshprovider.AgentConfig
	for i, record := range records {
		agent, err := parseSSH(record, from)
		if err == nil && slices.ContainsFunc(agents, func(a sshprovider.AgentConfig) bool { return a.ID == agent.ID }) {
			err = fmt.Errorf("%s is given twice", agent.ID)
		}
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("input ssh, entry %d: %w", i+1, err), sshHint)
		}
		// Each by itself first, to tell which it is that cannot be used.
		if _, err := sshprovider.NewSSHAgentProvider([]sshprovider.AgentConfig{agent}); err != nil {
			return nil, fault.Usage(fmt.Errorf("input ssh, entry %d: %s: %w", i+1, agent.ID, innermost(err)), "give one socket, or keys without passphrase; a key that has one goes into an agent")
		}
		agents = append(agents, agent)
	}
	return sshprovider.NewSSHAgentProvider(agents)
}

// innermost is err without what was wrapped around it.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// parseSSH reads ID[=SOCKET|KEY,…]. What is not an id is not shown: it may be a
// key.
func parseSSH(record string, from secretSources) (sshprovider.AgentConfig, error) {
	id, list, given := strings.Cut(record, "=")
	agent := sshprovider.AgentConfig{ID: id}
	if !validSecretID(id) {
		return agent, errors.New("it is not ID or ID=PATH (it is not shown)")
	}
	if !given {
		socket := from.getenv("SSH_AUTH_SOCK")
		if socket == "" {
			return agent, fmt.Errorf("%s is the agent of SSH_AUTH_SOCK, which is not set", id)
		}
		list = socket
	}
	for path := range strings.SplitSeq(list, ",") {
		if path == "" || strings.ContainsAny(path, "\r\n") {
			return agent, fmt.Errorf("%s: an entry is not a path (it is not shown)", id)
		}
		path, err := from.path(path)
		if err == nil {
			err = usableForSSH(path)
		}
		if err != nil {
			return agent, fmt.Errorf("%s: %w", id, err)
		}
		agent.Paths = append(agent.Paths, path)
	}
	return agent, nil
}

// usableForSSH finds a socket without an agent behind it before the build does.
func usableForSSH(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no socket and no key at %s", path)
	case err != nil:
		return err
	case info.Mode().Type() == fs.ModeSocket:
		const agentTimeout = 2 * time.Second // BuildKit's own
		conn, err := net.DialTimeout("unix", path, agentTimeout)
		if err != nil {
			return fmt.Errorf("no agent answers at %s", path)
		}
		return conn.Close()
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is neither a socket nor a key", path)
	}
	return nil
}

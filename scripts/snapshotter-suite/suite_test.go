// Runs containerd's own tests of snapshotters against `peel snapshotter`: each case has a server of its own, which is
// called over its socket by the client that containerd uses for proxy snapshotters.
//
//	PEEL="node dist/cli/main.js" go test
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/pkg/dialer"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/proxy"
	"github.com/containerd/containerd/snapshots/testsuite"
	"google.golang.org/grpc"
)

// How long a server may take to end.
const stopTimeout = 20 * time.Second

func startPeel(_ context.Context, root string) (snapshots.Snapshotter, func() error, error) {
	address := filepath.Join(filepath.Dir(root), "s.sock")
	words := strings.Fields(os.Getenv("PEEL"))
	server := exec.Command(words[0], append(words[1:], "snapshotter", "--address", address, "--root", root)...)
	server.Stderr = os.Stderr
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, err := server.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := server.Start(); err != nil {
		return nil, nil, err
	}
	// It says its address when it can be called.
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != address {
		server.Process.Kill()
		return nil, nil, fmt.Errorf("the server said %q: %v", line, err)
	}
	connection, err := grpc.Dial(dialer.DialAddress(address), grpc.WithInsecure(), grpc.WithContextDialer(dialer.ContextDialer))
	if err != nil {
		server.Process.Kill()
		return nil, nil, err
	}
	stop := func() error {
		connection.Close()
		late := time.AfterFunc(stopTimeout, func() { server.Process.Kill() })
		defer late.Stop()
		server.Process.Signal(syscall.SIGTERM)
		return server.Wait()
	}
	return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(connection), "peel"), stop, nil
}

func TestSnapshotter(t *testing.T) {
	testsuite.SnapshotterSuite(t, "peel", startPeel)
}

// containerd-stargz-grpc from the library that Debian ships: its package has the client (ctr-remote) and leaves the
// daemon out. The flags are those of the upstream program that the benchmark uses, so that either can be on PATH.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/contrib/snapshotservice"
	"github.com/containerd/containerd/reference"
	"github.com/containerd/containerd/remotes/docker"
	"github.com/containerd/stargz-snapshotter/fs"
	"github.com/containerd/stargz-snapshotter/fs/config"
	"github.com/containerd/stargz-snapshotter/fs/source"
	"github.com/containerd/stargz-snapshotter/snapshot"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/pelletier/go-toml"
	"google.golang.org/grpc"
)

func main() {
	address := flag.String("address", "", "socket to listen on")
	root := flag.String("root", "", "folder for its state and its cache")
	settings := flag.String("config", "", "file of settings, TOML")
	flag.Parse()
	if err := serve(*address, *root, *settings); err != nil {
		fmt.Fprintln(os.Stderr, "containerd-stargz-grpc:", err)
		os.Exit(1)
	}
}

// Registries without credentials, over HTTPS; over HTTP on loopback.
func hosts() source.RegistryHosts {
	client := retryablehttp.NewClient()
	client.Logger = nil
	registries := docker.ConfigureDefaultRegistries(
		docker.WithPlainHTTP(docker.MatchLocalhost), docker.WithClient(client.StandardClient()))
	return func(name reference.Spec) ([]docker.RegistryHost, error) { return registries(name.Hostname()) }
}

// Answers until it is told to end, then unmounts what it has mounted.
func serve(address, root, settings string) error {
	text, err := os.ReadFile(settings)
	if err != nil {
		return err
	}
	var chosen config.Config
	if err := toml.Unmarshal(text, &chosen); err != nil {
		return fmt.Errorf("%s: %w", settings, err)
	}
	layers, err := fs.NewFilesystem(
		filepath.Join(root, "stargz"), chosen, fs.WithGetSources(source.FromDefaultLabels(hosts())))
	if err != nil {
		return err
	}
	snapshotter, err := snapshot.NewSnapshotter(
		context.Background(), filepath.Join(root, "snapshotter"), layers, snapshot.AsynchronousRemove)
	if err != nil {
		return err
	}
	defer snapshotter.Close()

	listener, err := net.Listen("unix", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	api.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-ended
		server.Stop()
	}()
	return server.Serve(listener)
}

package build

import (
	"context"
	"errors"
	"fmt"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/step"
)

// serve runs a builder for other programs, buildctl and docker buildx among
// them, until this one is told to stop.
func (s *Step) serve(ctx context.Context, job *step.Job) error {
	in := &s.inputs
	if in.Addr == "" {
		return fault.Usage(errors.New("input addr: an address to serve at is missing"), "give --addr=unix:///run/imagewright.sock")
	}
	limit, err := size("state-max-size", in.StateMaxSize)
	if err != nil {
		return err
	}
	mirrors, err := readMirrors(in.Mirrors)
	if err != nil {
		return err
	}
	rights, err := in.entitlements()
	if err != nil {
		return err
	}
	options := s.engineOptions(job, mirrors, limit, rights)
	options.Serving, options.Entitlements = true, append([]string{}, rights...) // what is not allowed here is not to be had
	listener, err := buildkit.Listen(in.Addr)
	if err != nil {
		return fmt.Errorf("input addr: %w", err)
	}
	defer listener.Close()
	engine, err := buildkit.Start(ctx, options)
	if err != nil {
		return err
	}
	job.Log.Info("serving BuildKit's API", "addr", in.Addr, "engine", engine.Mode(), "snapshotter", engine.Snapshotter())
	err = engine.Serve(ctx, listener)
	return errors.Join(err, engine.Close())
}

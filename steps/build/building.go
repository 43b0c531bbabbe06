package build

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/progress/progressui"
	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
)

// building is one build under way: some builders make one image in one layout.
type building struct {
	job      *step.Job
	plan     *plan
	layout   *image.Layout
	store    *buildkit.Store // over layout, for our own engine
	memory   *image.Memory
	incoming *buildkit.Store // over layout, for images to be normalized
	watcher  *watcher
	display  progressui.Display
	session  []session.Attachable
	files    []client.ExportEntry // further exports
}

// part is what one builder made of the image.
type part struct {
	node     *node
	bases    []baseImage
	response map[string]string

	built        []v1.Descriptor // the images as the builder made them
	images       []v1.Descriptor // what became of them, in the same order
	attestations []v1.Descriptor // of built
}

// run has every node build its part. The first failure stops the others.
func (b *building) run(ctx context.Context, nodes []*node) ([]part, error) {
	defer b.job.Group("Build")()
	statuses, watched := b.watch(ctx)
	parts := make([]part, len(nodes)) // each goroutine writes its own place
	known := &digests{}
	g, gctx := errgroup.WithContext(ctx)
	var passing sync.WaitGroup
	for i, n := range nodes {
		own := make(chan *client.SolveStatus)
		passing.Go(func() { pass(statuses, own, n) })
		g.Go(func() (err error) {
			parts[i], err = b.part(gctx, n, known, own)
			return n.named(err)
		})
	}
	err := g.Wait()
	passing.Wait()
	close(statuses)
	<-watched
	if written := cmp.Or(b.store.Err(), b.incoming.Err()); err != nil && written != nil && ctx.Err() == nil {
		return nil, &layoutFailure{written, b.job.Rel(b.layout.Dir())}
	}
	if err != nil {
		return nil, explainUnless(ctx, err, b.plan, b.watcher)
	}
	return parts, nil
}

// watch shows what is sent to statuses, until they are closed and all of it is
// shown: then watched is closed too.
func (b *building) watch(ctx context.Context) (statuses chan *client.SolveStatus, watched chan struct{}) {
	quietLogs(b.job.Log)
	statuses, watched = make(chan *client.SolveStatus), make(chan struct{})
	go func() {
		defer close(watched)
		b.watcher.watch(ctx, b.display, statuses)
	}()
	return statuses, watched
}

// call asks n's frontend for what the input call says, and builds nothing.
func (b *building) call(ctx context.Context, n *node, request string) (answer called, err error) {
	statuses, watched := b.watch(ctx)
	s := &solver{client: n.Client, where: n.Where, log: b.job.Log, plan: b.plan, platforms: n.platforms, session: b.session}
	s.ask = func(ctx context.Context, c gateway.Client, attrs map[string]string) (err error) {
		answer, err = call(ctx, c, attrs, request, b.plan.dockerfile, b.watcher)
		return err
	}
	_, err = s.solve(ctx, statuses)
	<-watched
	if err != nil {
		err = explainUnless(ctx, err, b.plan, b.watcher)
	}
	return answer, err
}

// part has n build its part.
func (b *building) part(ctx context.Context, n *node, known *digests, statuses chan *client.SolveStatus) (made part, err error) {
	target := n.target(b)
	if target.clean != nil {
		defer func() {
			if left := target.clean(context.WithoutCancel(ctx)); left != nil {
				b.job.Log.Warn("something of this build stays behind", "error", left)
			}
		}()
	}
	s := &solver{
		client: n.Client, where: n.Where, log: b.job.Log, plan: b.plan, platforms: n.platforms, session: b.session, known: known,
		exports: append([]client.ExportEntry{target.export}, b.files...),
	}
	made.node = n
	if made.response, err = s.solve(ctx, statuses); err != nil {
		return made, n.Lost(ctx, err)
	}
	made.bases = s.bases
	root, err := target.fetch(ctx, made.response)
	if err != nil {
		return made, err
	}
	if made.built, made.attestations, err = image.Split(b.layout, root); err != nil {
		return made, err
	}
	if made.images = made.built; target.normal == nil {
		return made, nil
	}
	if root, err = target.normal(ctx, root, s.bases); err != nil {
		return made, err
	}
	made.images, _, err = image.Split(b.layout, root)
	return made, err
}

// assemble makes one image of parts, in the order in which its platforms are
// wanted.
func (b *building) assemble(parts []part) (result, error) {
	wanted := b.plan.platforms
	if len(wanted) == 0 && len(parts[0].node.Platforms) > 0 {
		wanted = parts[0].node.Platforms[:1]
	}
	var images, built, attestations []v1.Descriptor
	var materials []record.Material
	for _, p := range parts {
		images, built, attestations = append(images, p.images...), append(built, p.built...), append(attestations, p.attestations...)
		materials = append(materials, p.materials()...)
	}
	said, err := readAttestations(b.layout, attestations, built, images)
	if err != nil {
		return result{}, err
	}
	place := func(d v1.Descriptor) int { return fitting(wanted, ociPlatform(*d.Platform)) }
	slices.SortStableFunc(images, func(x, y v1.Descriptor) int { return place(x) - place(y) })
	root, err := annotatedRoot(b.layout, images, b.plan.annotations)
	if err != nil {
		return result{}, err
	}
	made, err := readResult(root, b.layout, wanted)
	made.Materials, made.Said = materials, said
	made.response = parts[0].response
	return made, err
}

// annotatedRoot makes one root of images, with the annotations that stand
// outside of them.
func annotatedRoot(layout *image.Layout, images []v1.Descriptor, all []annotation) (v1.Descriptor, error) {
	for i, d := range images {
		if own := annotationsOf(all, exptypes.AnnotationManifestDescriptor, d.Platform); own != nil {
			images[i].Annotations = own // else those it came with
		}
	}
	root, err := image.Assemble(layout, images, annotationsOf(all, exptypes.AnnotationIndex, nil))
	if err == nil && len(images) > 1 {
		root.Annotations = annotationsOf(all, exptypes.AnnotationIndexDescriptor, nil)
	}
	return root, err
}

// materials are the images that p was made from.
func (p part) materials() []record.Material {
	var all []record.Material
	for _, b := range p.bases {
		all = append(all, record.Material{Name: b.Name, Digest: b.Digest.String(), Platform: platforms.Format(b.Platform)})
	}
	return all
}

// digests are those of base images that were resolved, by name, so that all
// builders take the same.
type digests struct {
	mu  sync.Mutex
	all map[string]digest.Digest
}

// of returns the digest of name, which find tells where nobody has asked yet.
func (d *digests) of(name string, find func() (digest.Digest, error)) (digest.Digest, error) {
	d.mu.Lock()
	defer d.mu.Unlock() // also while it is looked up: the next one gets the same
	if known := d.all[name]; known != "" {
		return known, nil
	}
	found, err := find()
	if err != nil {
		return "", err
	}
	if d.all == nil {
		d.all = map[string]digest.Digest{}
	}
	d.all[name] = found
	return found, nil
}

// pass hands what comes from n's builder on to out. The steps of several builders
// have to differ, although their digests do not.
func pass(out chan<- *client.SolveStatus, from <-chan *client.SolveStatus, n *node) {
	for s := range from {
		for _, v := range s.Vertexes {
			v.Digest = n.label(v.Digest)
			if group := v.ProgressGroup; group != nil {
				v.ProgressGroup = &pb.ProgressGroup{Id: string(n.label(digest.Digest(group.Id))), Name: group.Name, Weak: group.Weak}
			}
			for i := range v.Inputs {
				v.Inputs[i] = n.label(v.Inputs[i])
			}
		}
		for _, v := range s.Statuses {
			v.Vertex = n.label(v.Vertex)
		}
		for _, v := range s.Logs {
			v.Vertex = n.label(v.Vertex)
		}
		for _, v := range s.Warnings {
			v.Vertex = n.label(v.Vertex)
		}
		out <- s
	}
}

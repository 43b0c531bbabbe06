package prune

import v1 "github.com/google/go-containerregistry/pkg/v1"

// judgeMachinery lets the tags of the referrers schema and of cosign share the
// fate of their subject. One whose subject nobody knows stays.
func (d *decision) judgeMachinery() {
	for name, owner := range d.owners {
		d.verdicts[name] = stays("belongs to %s", owner.name)
	}
	marked := d.mark() // machinery that stays reaches no further than its own artefacts
	for name, owner := range d.owners {
		if owner.known && !marked[owner.digest] {
			d.verdicts[name] = verdict{true, "belongs to " + owner.name + ", which goes"}
		}
	}
}

// mark returns all that a kept tag still needs: itself; below it, through
// indexes, its children; what refers to any of these, and what those refer to.
//
// A machinery tag keeps what it points to, but is no reason to keep its
// subject: else nothing signed could ever go.
func (d *decision) mark() map[v1.Hash]bool {
	marked := map[v1.Hash]bool{}
	var roots []v1.Hash
	for name, digest := range d.Tags {
		if _, machinery := d.owners[name]; !machinery && !d.verdicts[name].goes {
			roots = append(roots, digest)
		}
	}
	d.reach(roots, marked)
	// Machinery whose subject is marked, or unknown, keeps its artefacts, which
	// may be the subjects of further machinery: until nothing changes.
	for before := -1; before != len(marked); {
		before = len(marked)
		for name, owner := range d.owners {
			if !d.verdicts[name].goes && (!owner.known || marked[owner.digest]) {
				d.reach([]v1.Hash{d.Tags[name]}, marked)
			}
		}
	}
	return marked
}

// reach marks roots and everything they need.
func (d *decision) reach(roots []v1.Hash, marked map[v1.Hash]bool) {
	for len(roots) > 0 {
		digest := roots[len(roots)-1]
		roots = roots[:len(roots)-1]
		if marked[digest] {
			continue
		}
		marked[digest] = true
		node := d.Nodes[digest]
		if node == nil {
			continue
		}
		roots = append(append(roots, node.Children...), node.Referrers...)
		if node.Subject != nil {
			roots = append(roots, *node.Subject)
		}
	}
}

// below returns digest and, through indexes, its children.
func (d *decision) below(digest v1.Hash) map[v1.Hash]bool {
	seen := map[v1.Hash]bool{}
	todo := []v1.Hash{digest}
	for len(todo) > 0 {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		node := d.Nodes[next]
		if node == nil || seen[next] {
			continue
		}
		seen[next] = true
		todo = append(todo, node.Children...)
	}
	return seen
}

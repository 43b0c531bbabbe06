// Package image opens container images from where they lie (an OCI layout, an
// archive, a registry), walks the files of their layers, and writes layouts.
//
// Whatever it reads is taken for hostile: every content is checked against the
// digest that names it while it is read, every document is bounded, and a
// stream that ends early is an error, never a short answer.
//
// Formats: OCI image-spec 1.1 (https://github.com/opencontainers/image-spec)
// and the archives of docker save.
package image

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Blob is content to upload. Every v1.Layer is one.
type Blob interface {
	Digest() (v1.Hash, error)
	Size() (int64, error)
	Compressed() (io.ReadCloser, error) // from the beginning each time
}

// Elsewhere is a Blob that is, or may be, in other repositories too.
type Elsewhere interface {
	Blob
	// Repositories are those that may have it. One of the same registry is
	// asked to share it with the new one.
	Repositories() []name.Repository
}

// PutBlob sees to it that repo has the blob and returns the bytes sent for it:
// 0 when the registry had it already, in repo or, for a blob that is
// [Elsewhere], in another repository.
//
// What is sent is hashed on the way, and its last part is held back until the
// digest is known to be right: a blob that is damaged here never becomes whole
// there. The error then says so.
func (c *Client) PutBlob(ctx context.Context, repo name.Repository, blob Blob) (sent int64, err error) {
	u, err := c.newUpload(repo, blob)
	if err != nil {
		return 0, err
	}
	exists, err := u.exists(ctx)
	for try := 0; err == nil && !exists; try++ {
		sent, err = u.send(ctx)
		if err == nil {
			return sent, nil
		}
		wait, again := u.again(try, err)
		if !again || ctx.Err() != nil {
			return 0, err
		}
		c.log.Info("registry: uploading again", "repository", repo.String(), "blob", u.digest, "after", wait.Round(time.Millisecond), "because", err)
		if err := c.retry.sleep(ctx, wait); err != nil {
			return 0, err
		}
		// The last answer may have been lost after the registry had it all.
		if exists, err = u.exists(ctx); exists {
			return u.size, nil
		}
	}
	return 0, err
}

// upload is one blob on its way to one repository.
type upload struct {
	client *Client
	target target
	blob   Blob
	digest v1.Hash
	size   int64
}

func (c *Client) newUpload(repo name.Repository, blob Blob) (*upload, error) {
	digest, err := blob.Digest()
	if err != nil {
		return nil, err
	}
	size, err := blob.Size()
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", digest, err)
	}
	u := &upload{client: c, target: c.target(repo, Push), blob: blob, digest: digest, size: size}
	if e, ok := blob.(Elsewhere); ok {
		for _, from := range e.Repositories() {
			if from.RegistryStr() == repo.RegistryStr() && from.RepositoryStr() != repo.RepositoryStr() {
				u.target.from = &from
				break
			}
		}
	}
	return u, nil
}

func (u *upload) exists(ctx context.Context) (bool, error) {
	t := u.target
	t.from = nil
	resp, err := u.client.get(ctx, t, http.MethodHead, u.client.url(t, "blobs", u.digest.String()), nil)
	if err != nil {
		return false, err
	}
	if resp.StatusCode == http.StatusNotFound {
		discard(resp)
		return false, nil
	}
	if err := u.client.expect(resp, http.StatusOK); err != nil {
		return false, err
	}
	discard(resp)
	if resp.ContentLength >= 0 && resp.ContentLength != u.size {
		return false, mismatch(http.MethodHead, redact(resp.Request.URL), "the registry's blob has %d bytes instead of %d", resp.ContentLength, u.size)
	}
	return true, nil
}

// errBroken marks a failure while the content was under way: the whole upload
// may be begun again.
type errBroken struct{ error }

func (e errBroken) Unwrap() error { return e.error }

// errLocal is what is wrong with the content on this side: it is not what its
// digest says, or cannot be read. Sending it again helps nothing.
type errLocal struct{ error }

func (e errLocal) Unwrap() error { return e.error }

// again says whether and when to begin the upload anew.
func (u *upload) again(try int, err error) (time.Duration, bool) {
	broken, ok := errors.AsType[errBroken](err)
	if !ok {
		return 0, false
	}
	after := ""
	if e, ok := errors.AsType[*Error](broken.error); ok {
		after = e.retryAfter
		switch {
		case e.Status == http.StatusNotFound || e.Status == http.StatusRequestedRangeNotSatisfiable:
			// The registry forgot the session, which some do when it broke off.
		case e.Status == http.StatusBadRequest:
			// The content was right when it left; once it may have been the network.
			if try > 0 {
				return 0, false
			}
		case e.Status != 0 && !passingStatus(e.Status), e.Status == 0 && !passingError(e.cause):
			return 0, false
		}
	}
	return u.client.retry.wait(try, after)
}

// send opens an upload and sends the content in one request: every registry
// takes that, and no chunk of it is ever kept in memory.
func (u *upload) send(ctx context.Context) (int64, error) {
	c, t := u.client, u.target
	query := ""
	if t.from != nil {
		query = "?" + url.Values{"mount": {u.digest.String()}, "from": {t.from.RepositoryStr()}}.Encode()
	}
	resp, err := c.get(ctx, t, http.MethodPost, c.url(t, "blobs", "uploads/")+query, nil)
	if t.from != nil && isScopeRefused(err) {
		u.target.from = nil
		return u.send(ctx)
	}
	if err != nil {
		return 0, err
	}
	if resp.StatusCode == http.StatusCreated && t.from != nil {
		discard(resp)
		return 0, nil // mounted
	}
	if t.from != nil && resp.StatusCode != http.StatusAccepted {
		discard(resp) // the credentials may not reach that far: do without
		u.target.from = nil
		return u.send(ctx)
	}
	if err := c.expect(resp, http.StatusAccepted); err != nil {
		return 0, err
	}
	discard(resp)
	location, err := u.location(resp)
	if err != nil {
		return 0, err
	}
	return u.put(ctx, location)
}

// location is where the content goes. Its query is the registry's own; it is
// added to and never written anew.
func (u *upload) location(resp *http.Response) (*url.URL, error) {
	location, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err == nil && resp.Header.Get("Location") == "" {
		err = errors.New("it names no place for the content")
	}
	if err == nil {
		err = u.client.checkAddress(u.target.host(), location)
	}
	if err != nil {
		return nil, &Error{Method: http.MethodPost, URL: redact(resp.Request.URL), Registry: u.target.host(), cause: fmt.Errorf("upload: %w", err)}
	}
	return location, nil
}

func (u *upload) put(ctx context.Context, location *url.URL) (int64, error) {
	to := *location
	if to.RawQuery != "" {
		to.RawQuery += "&"
	}
	to.RawQuery += "digest=" + url.QueryEscape(u.digest.String())

	t := u.target
	t.from, t.once = nil, true
	req, err := http.NewRequestWithContext(withTarget(ctx, t), http.MethodPut, to.String(), nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.ContentLength = u.size
	req.Body = http.NoBody
	if u.size > 0 {
		req.GetBody = u.open
		if req.Body, err = u.open(); err != nil {
			return 0, err
		}
	}
	resp, err := u.client.do(req)
	if err != nil {
		if local, ok := errors.AsType[errLocal](err); ok {
			u.cancel(ctx, location)
			return 0, fmt.Errorf("blob %s: %w", u.digest, local.error) // not about the address
		}
		return 0, errBroken{err}
	}
	if err := u.client.expect(resp, http.StatusCreated, http.StatusOK, http.StatusNoContent); err != nil {
		return 0, errBroken{err}
	}
	discard(resp)
	if answered := resp.Header.Get("Docker-Content-Digest"); answered != "" && answered != u.digest.String() {
		return 0, mismatch(http.MethodPut, redact(&to), "the registry stored %s instead of %s", printable(answered, 140), u.digest)
	}
	return u.size, nil
}

// cancel gives the upload up, so that the registry need not wait for the rest.
func (u *upload) cancel(ctx context.Context, location *url.URL) {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	t := u.target
	t.once = true
	if resp, err := u.client.get(ctx, t, http.MethodDelete, location.String(), nil); err == nil {
		discard(resp)
	}
}

// open returns the content from its beginning.
func (u *upload) open() (io.ReadCloser, error) {
	r, err := u.blob.Compressed()
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", u.digest, err)
	}
	hasher, err := v1.Hasher(u.digest.Algorithm)
	if err != nil {
		r.Close()
		return nil, err
	}
	return &checked{r: r, left: u.size, hasher: hasher, want: u.digest.Hex}, nil
}

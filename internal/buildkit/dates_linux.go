package buildkit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	cacheimporttypes "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/moby/buildkit/exporter"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	commonexptypes "github.com/moby/buildkit/exporter/exptypes"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/result"
	"github.com/moby/buildkit/worker/base"
)

// datedWorker is a worker whose exporters date every step of a build that has a
// source-date-epoch with exactly that time, in the image's history and in the
// cache that may be inside it.
//
// BuildKit fills the history's empty dates with the time a layer came into the
// cache, and only clamps it to the epoch. A layer cached since the last commit
// then keeps a date that a cold build would not give it, and the same commit
// gets another digest. The stock remedy, the build argument SOURCE_DATE_EPOCH,
// puts the time into the cache key of every WORKDIR, so that each commit builds
// everything after the first one again.
//
// https://github.com/moby/buildkit/blob/v0.34.2/exporter/containerimage/writer.go#L871
// https://github.com/moby/buildkit/blob/v0.34.2/frontend/dockerfile/dockerfile2llb/convert.go#L1550
type datedWorker struct{ *base.Worker }

// Exporter implements worker.Worker.
func (w *datedWorker) Exporter(name string, sm *session.Manager) (exporter.Exporter, error) {
	e, err := w.Worker.Exporter(name, sm)
	if err != nil {
		return nil, err
	}
	return datedExporter{e}, nil
}

type datedExporter struct{ exporter.Exporter }

// Resolve implements exporter.Exporter.
func (e datedExporter) Resolve(ctx context.Context, id int, attrs map[string]string) (exporter.ExporterInstance, error) {
	instance, err := e.Exporter.Resolve(ctx, id, attrs)
	if err != nil {
		return nil, err
	}
	seconds, err := strconv.ParseInt(attrs[string(commonexptypes.OptKeySourceDateEpoch)], 10, 64)
	if err != nil {
		return instance, nil // none: BuildKit has complained about any other value
	}
	return datedInstance{instance, time.Unix(seconds, 0).UTC()}, nil
}

type datedInstance struct {
	exporter.ExporterInstance
	date time.Time
}

// Export implements exporter.ExporterInstance.
func (e datedInstance) Export(ctx context.Context, src *exporter.Source, info exporter.ExportBuildInfo) (map[string]string, exporter.FinalizeFunc, exporter.DescriptorReference, error) {
	src = src.Clone()
	src.Metadata = maps.Clone(src.Metadata)
	for key, config := range src.Metadata {
		// "containerimage.config", or with "/" and a platform behind it
		if key != exptypes.ExporterImageConfigKey && !strings.HasPrefix(key, exptypes.ExporterImageConfigKey+"/") {
			continue
		}
		dated, err := dateHistory(config, e.date)
		if err != nil {
			return nil, nil, nil, err
		}
		src.Metadata[key] = dated
	}
	info.InlineCache = dateInlineCache(info.InlineCache, e.date)
	return e.ExporterInstance.Export(ctx, src, info)
}

// dateInlineCache gives the given date to every result that the cache inside an
// image names. They have the times at which the steps ran, and would give the
// same commit another digest; who reads the cache only sorts by them.
func dateInlineCache(inline exptypes.InlineCache, date time.Time) exptypes.InlineCache {
	if inline == nil {
		return nil
	}
	return func(ctx context.Context) (*result.Result[*exptypes.InlineCacheEntry], error) {
		made, err := inline(ctx)
		if err != nil || made == nil {
			return made, err
		}
		return result.ConvertResult(made, func(e *exptypes.InlineCacheEntry) (*exptypes.InlineCacheEntry, error) {
			if e == nil {
				return nil, nil
			}
			records, err := dateRecords(e.Data, date)
			return &exptypes.InlineCacheEntry{Data: records}, err
		})
	}
}

// dateRecords gives every result of a cache's records the given date.
func dateRecords(text []byte, date time.Time) ([]byte, error) {
	if len(text) == 0 {
		return text, nil // nothing to keep
	}
	var records []cacheimporttypes.CacheRecord
	if err := json.Unmarshal(text, &records); err != nil {
		return nil, fmt.Errorf("records of the image's own cache: %w", err)
	}
	for _, r := range records {
		for i := range r.Results {
			r.Results[i].CreatedAt = date
		}
		for i := range r.ChainedResults {
			r.ChainedResults[i].CreatedAt = date
		}
	}
	return json.Marshal(records)
}

// dateHistory gives every entry of an image config's history that has no date
// the given one. Those of a base image have theirs. Nothing else changes.
func dateHistory(config []byte, date time.Time) ([]byte, error) {
	var image map[string]json.RawMessage
	if err := json.Unmarshal(config, &image); err != nil {
		return nil, fmt.Errorf("image config: %w", err)
	}
	if image == nil {
		return config, nil // null: BuildKit refuses it itself
	}
	var history []map[string]json.RawMessage
	if raw := image["history"]; raw != nil {
		if err := json.Unmarshal(raw, &history); err != nil {
			return nil, fmt.Errorf("history of the image config: %w", err)
		}
	}
	stamp := json.RawMessage(strconv.Quote(date.Format(time.RFC3339)))
	for i := range history {
		if history[i] == nil {
			history[i] = make(map[string]json.RawMessage)
		}
		if created := history[i]["created"]; created == nil || string(created) == "null" {
			history[i]["created"] = stamp
		}
	}
	raw, err := marshal(history)
	if err != nil {
		return nil, err
	}
	image["history"] = raw
	return marshal(image)
}

// marshal is json.Marshal that leaves && and <file as they were written.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

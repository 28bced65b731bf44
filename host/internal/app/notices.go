package app

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/webhook"
)

// openNotices makes the sender of notices, where the configuration names anybody to tell.
func (h *Host) openNotices(_ context.Context, cfg *config.Config) error {
	if len(cfg.Webhooks) == 0 {
		return nil
	}
	var endpoints []webhook.Endpoint
	for _, name := range slices.Sorted(maps.Keys(cfg.Webhooks)) {
		e, err := endpoint(name, cfg.Webhooks[name])
		if err != nil {
			return fmt.Errorf("webhook %s: %w", name, err)
		}
		endpoints = append(endpoints, e)
	}
	var err error
	h.notices, err = webhook.New(webhook.Options{Store: h.store, Endpoints: endpoints, Now: h.opt.Now, Log: h.opt.Log})
	return err
}

func endpoint(name string, w config.Webhook) (webhook.Endpoint, error) {
	e := webhook.Endpoint{Name: name, Private: w.Private}
	var err error
	if e.URL, err = w.URL.Resolve(); err != nil {
		return e, err
	}
	for _, on := range w.On {
		e.On = append(e.On, host.NoticeType(on))
	}
	for _, reference := range w.Secrets {
		text, err := reference.Resolve()
		if err != nil {
			return e, err
		}
		secret, err := webhook.ParseSecret(text)
		if err != nil {
			return e, err
		}
		e.Secrets = append(e.Secrets, secret)
	}
	return e, nil
}

// deliver sends notices until ctx ends.
func (h *Host) deliver(ctx context.Context) {
	if h.notices == nil {
		return
	}
	if err := h.notices.Run(ctx); err != nil && ctx.Err() == nil {
		h.opt.Log.ErrorContext(ctx, "notices are no longer sent; restart the host", "error", err)
	}
}

package session

import (
	"context"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

type unobserved struct{}

func (unobserved) StartTurn(ctx context.Context, _ host.Session, _ int, _ string) (context.Context, func(host.TurnStatus, abi.Usage, error)) {
	return ctx, func(host.TurnStatus, abi.Usage, error) {}
}

func (unobserved) Trace(context.Context) string { return "" }

package app

import (
	"context"
	"errors"

	"github.com/vespiary/vespiary/host/internal/cli"
)

// Demo implements cli.App.
func (App) Demo(context.Context, cli.DemoOptions) error { return errors.New("demo: not yet") }

package runtime

import "context"

// Fresh makes an instance as if the module could have no image.
func Fresh(ctx context.Context, m Module, c Config) (Instance, error) {
	n := m.(*nativeModule)
	if err := n.use(); err != nil {
		return nil, err
	}
	i := n.newInstance(ctx, c)
	if err := i.start(ctx, c); err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

//go:build race

package prepare_test

// raceDetector slows the engine's compiler down by an order of magnitude.
const raceDetector = true

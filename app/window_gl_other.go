//go:build !linux && (desktop || dev || bindings)

package app

func withoutGL() {}

// Package app puts the rooms together: it is the only place that knows every part. Folders are subjects, not layers;
// which layer a package belongs to, and what it may import, is in layers_test.go.
package app

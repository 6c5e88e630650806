//go:build desktop || dev || bindings

package app

// #cgo LDFLAGS: -ldl
// #include <dlfcn.h>
// #include <stddef.h>
//
// static void find_egl_vendors(void) {
// 	void *egl = dlopen("libEGL.so.1", RTLD_LAZY);
// 	void *(*get_display)(void *) = egl ? (void *(*)(void *))dlsym(egl, "eglGetDisplay") : NULL;
// 	if (get_display) get_display(NULL);
// }
import "C"

import "os"

// withoutGL keeps OpenGL out of this process, which draws with the CPU: a driver costs it 20 MB and more (Mesa brings
// LLVM), and its trouble. See docs/adr/0009-window-without-gl.md. It comes before GTK.
func withoutGL() {
	for name, value := range map[string]string{
		"GDK_GL":                         "disable",
		"WEBKIT_DISABLE_DMABUF_RENDERER": "1", // it leaves windows blank on some drivers
	} {
		if os.Getenv(name) == "" {
			os.Setenv(name, value)
		}
	}
	// WebKit asks for EGL even so. Its dispatcher looks for drivers once, and finds none; the page's process, which inherits
	// the environment and does not start without EGL, finds them.
	const vendors = "__EGL_VENDOR_LIBRARY_FILENAMES"
	own, set := os.LookupEnv(vendors)
	os.Setenv(vendors, os.DevNull)
	C.find_egl_vendors()
	if set {
		os.Setenv(vendors, own)
	} else {
		os.Unsetenv(vendors)
	}
}

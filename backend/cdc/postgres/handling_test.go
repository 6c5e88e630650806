package postgres

import (
	"strings"
	"testing"

	"freshet/backend/fault"
	"freshet/backend/stream"
)

func TestReadHandling(t *testing.T) {
	h, err := readHandling(nil)
	if err != nil || h.words[decimalOption] != "precise" || h.words[timeOption] != "adaptive" || h.noTombstones || h.skips(stream.Truncate) {
		t.Errorf("%+v, %v", h, err)
	}
	h, err = readHandling(map[string]string{decimalOption: "string", tombstonesOption: "false", skippedOption: "u, t"})
	if err != nil || h.words[decimalOption] != "string" || !h.noTombstones || !h.skips(stream.Truncate) || !h.skips(stream.Update) || h.skips(stream.Create) {
		t.Errorf("%+v, %v", h, err)
	}
	for _, c := range []struct{ name, value, says string }{
		{"decimal.handling.mod", "string", "not known"},
		{decimalOption, "Precise", "precise, string, double"},
		{tombstonesOption, "", "true, false"},
		{skippedOption, "c,r", "c, u, d, t, or none"},
		{skippedOption, "", "c, u, d, t, or none"},
	} {
		_, err := readHandling(map[string]string{c.name: c.value})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s=%q: %v", c.name, c.value, err)
		}
	}
}

// TestJavaNumbers: what Double.toString writes.
func TestJavaNumbers(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0.0", "-0": "-0.0", "1": "1.0", "-1": "-1.0", "0.1": "0.1", "0.001": "0.001", "0.0009": "9.0E-4", "1.5e-05": "1.5E-5",
		"100": "100.0", "1234567": "1234567.0", "9999999": "9999999.0", "10000000": "1.0E7", "1e+07": "1.0E7", "12345678.5": "1.23456785E7",
		"1.7976931348623157e+308": "1.7976931348623157E308", "5e-324": "5.0E-324", "123456.75": "123456.75", "NaN": `"NaN"`, "-Infinity": `"-Infinity"`,
	} {
		if got, ok := encodeFloat(nil, []byte(text)); !ok || string(got) != want {
			t.Errorf("%s: %s %t, want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "-", "1e", "0x1", "1e99999"} {
		if got, ok := encodeFloat(nil, []byte(text)); ok {
			t.Errorf("%q: %s", text, got)
		}
	}
}

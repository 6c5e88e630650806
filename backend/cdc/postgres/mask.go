package postgres

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"freshet/backend/fault"
)

// mask changes the values of text columns before they are written.
type mask struct {
	columns names
	option  string // without its salt
	kind    string // as stream.Column has it
	length  int    // of the stars, or what is kept, in UTF-16 units as Java counts
	hash    func() hash.Hash
	salt    []byte
	// java hashes a text as Java serializes it, which is what Debezium did first.
	java bool
}

var maskOptions = []string{"column.mask.with.N.chars", "column.truncate.to.N.chars", "column.mask.hash.ALGORITHM.with.salt.SALT", "column.mask.hash.v2.ALGORITHM.with.salt.SALT"}

var (
	starsOption    = regexp.MustCompile(`^column\.mask\.with\.(\d{1,4})\.chars$`)
	truncateOption = regexp.MustCompile(`^column\.truncate\.to\.(\d{1,9})\.chars$`)
	hashOption     = regexp.MustCompile(`(?s)^column\.mask\.hash\.(v2\.)?([A-Za-z0-9-]+)\.with\.salt\.(.+)$`)
)

// hashes are Java's names of them.
var hashes = map[string]func() hash.Hash{
	"MD5": md5.New, "SHA-1": sha1.New, "SHA-224": sha256.New224, "SHA-256": sha256.New, "SHA-384": sha512.New384, "SHA-512": sha512.New,
}

// readMask reads an option's name, where all but the columns is.
func readMask(name string) (m mask, ok bool, err error) {
	m.option = name
	if f := starsOption.FindStringSubmatch(name); f != nil {
		m.kind = "mask"
		m.length, err = strconv.Atoi(f[1])
		return m, true, err
	}
	if f := truncateOption.FindStringSubmatch(name); f != nil {
		m.kind = "truncate"
		m.length, err = strconv.Atoi(f[1])
		return m, true, err
	}
	before, salt, ok := CutSalt(name)
	if !ok {
		return m, false, nil
	}
	f := hashOption.FindStringSubmatch(name)
	m.kind, m.java, m.hash, m.salt = "hash", f[1] == "", hashes[strings.ToUpper(f[2])], []byte(salt)
	m.option = before + "…"
	if m.hash == nil {
		return m, true, fault.New(fault.Invalid, "read source options", "use MD5, SHA-1, SHA-224, SHA-256, SHA-384 or SHA-512", "%s: there is no hash %q", m.option, f[2])
	}
	return m, true, nil
}

// CutSalt takes the salt, which is a secret, off the name of an option that has one.
func CutSalt(option string) (before, salt string, ok bool) {
	f := hashOption.FindStringSubmatch(option)
	if f == nil {
		return option, "", false
	}
	return strings.TrimSuffix(option, f[3]), f[3], true
}

// masked reports whether values of a type can be masked: those of text, whose masked value is one of the type, too.
func masked(oid uint32, name string) bool {
	switch oid {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID:
		return true
	}
	return name == "citext"
}

// form is how masked values are written. size is the column's declared length, 0 for none.
func (m *mask) form(size int) form {
	f := form{placeholder: placeholderString, connect: connectString}
	switch m.kind {
	case "mask":
		stars := []byte(`"` + strings.Repeat("*", m.length) + `"`)
		f.always = stars
		f.encode = func(dst, _ []byte) ([]byte, bool) { return append(dst, stars...), true }
	case "truncate":
		f.encode = func(dst, text []byte) ([]byte, bool) { return encodeString(dst, cut(text, m.length)) }
	default:
		f.encode = m.hashed(size)
	}
	return f
}

// hashed encodes a text as its hash's hexadecimal digits, as many of them as the column takes.
func (m *mask) hashed(size int) encoder {
	h := m.hash()
	var text, sum, digits []byte
	return func(dst, value []byte) ([]byte, bool) {
		text = append(text[:0], m.salt...)
		if m.java {
			text = appendJava(text, value)
		} else {
			text = append(text, value...)
		}
		h.Reset()
		h.Write(text)
		sum = h.Sum(sum[:0])
		digits = hex.AppendEncode(digits[:0], sum)
		if size > 0 && size < len(digits) {
			digits = digits[:size]
		}
		return encodeString(dst, digits)
	}
}

// appendJava appends a string as java.io.ObjectOutputStream writes one: a header, the length, and UTF-8 with each half of
// a surrogate pair encoded for itself.
func appendJava(dst, text []byte) []byte {
	dst = append(dst, 0xac, 0xed, 0, 5)
	size := len(text) + 2*fourBytes(text)
	if size <= 0xffff {
		dst = binary.BigEndian.AppendUint16(append(dst, 0x74), uint16(size))
	} else {
		dst = binary.BigEndian.AppendUint64(append(dst, 0x7c), uint64(size))
	}
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if n < 4 {
			dst = append(dst, text[:n]...)
		} else {
			high, low := utf16.EncodeRune(r)
			dst = appendUnit(appendUnit(dst, high), low)
		}
		text = text[n:]
	}
	return dst
}

// fourBytes counts the characters that take four.
func fourBytes(text []byte) (n int) {
	for _, b := range text {
		if b >= 0xf0 {
			n++
		}
	}
	return n
}

func appendUnit(dst []byte, unit rune) []byte {
	return append(dst, 0xe0|byte(unit>>12), 0x80|byte(unit>>6)&0x3f, 0x80|byte(unit)&0x3f)
}

// cut keeps the first units of a text, counted as Java counts; a pair is not cut in two.
func cut(text []byte, units int) []byte {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		units -= max(1, utf16.RuneLen(r))
		if units < 0 {
			return text[:i]
		}
		i += n
	}
	return text
}

package postgres

import (
	"math"
	"strconv"
)

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 24 * 3600 * microsPerSecond
	// microsPerMonth is Debezium's: a twelfth of 365.25 days.
	microsPerMonth = 2_629_800 * microsPerSecond
)

// What Debezium 3.7 writes for infinite dates and for infinite timestamps of milliseconds; those of microseconds are the
// ends of int64.
const (
	dateInfinity               = 2146033979
	dateMinusInfinity          = -2147472691
	millisTimestampInfinity    = 9223372036825200000
	millisTimestampMinInfinity = -9223372036832400000
)

// timeOfDay is one in its text form.
type timeOfDay struct {
	hour, minute, second int64
	micro                int64
}

func (c timeOfDay) micros() int64 {
	return ((c.hour*60+c.minute)*60+c.second)*microsPerSecond + c.micro
}

// scanner reads the pieces of a date or time from its text.
type scanner struct {
	text []byte
	bad  bool
}

// number reads at least min and at most max digits.
func (s *scanner) number(min, max int) int64 {
	var v int64
	n := 0
	for n < len(s.text) && n < max && s.text[n] >= '0' && s.text[n] <= '9' {
		v = v*10 + int64(s.text[n]-'0')
		n++
	}
	if n < min {
		s.bad = true
	}
	s.text = s.text[n:]
	return v
}

func (s *scanner) is(c byte) bool { return len(s.text) > 0 && s.text[0] == c }

func (s *scanner) accept(c byte) bool {
	if !s.is(c) {
		return false
	}
	s.text = s.text[1:]
	return true
}

func (s *scanner) expect(c byte) {
	if !s.accept(c) {
		s.bad = true
	}
}

func (s *scanner) word(w string) bool {
	if len(s.text) < len(w) || string(s.text[:len(w)]) != w {
		return false
	}
	s.text = s.text[len(w):]
	return true
}

// clock reads HH:MM:SS[.ffffff].
func (s *scanner) clock() timeOfDay {
	var c timeOfDay
	c.hour = s.number(2, 9)
	s.expect(':')
	c.minute = s.number(2, 2)
	s.expect(':')
	c.second = s.number(2, 2)
	c.micro = s.fraction()
	return c
}

// fraction reads .ffffff as microseconds, 0 where there is none.
func (s *scanner) fraction() int64 {
	if !s.accept('.') {
		return 0
	}
	before := len(s.text)
	v := s.number(1, 6)
	for n := before - len(s.text); n < 6; n++ {
		v *= 10
	}
	return v
}

// date reads YYYY-MM-DD; the era comes later in the text.
func (s *scanner) date() (year, month, day int64) {
	year = s.number(4, 9)
	s.expect('-')
	month = s.number(2, 2)
	s.expect('-')
	day = s.number(2, 2)
	return year, month, day
}

// dateTime reads YYYY-MM-DD HH:MM:SS[.ffffff]; zone and era come later in the text.
func (s *scanner) dateTime() (year, month, day int64, c timeOfDay) {
	year, month, day = s.date()
	s.expect(' ')
	return year, month, day, s.clock()
}

// era turns year into the astronomical one and takes " BC" off.
func (s *scanner) era(year int64) int64 {
	if s.word(" BC") {
		return 1 - year
	}
	return year
}

// zone reads +HH[:MM[:SS]] as seconds east of UTC.
func (s *scanner) zone() int64 {
	sign := int64(1)
	switch {
	case s.accept('-'):
		sign = -1
	case s.accept('+'):
	default:
		s.bad = true
	}
	v := s.number(2, 2) * 3600
	if s.accept(':') {
		v += s.number(2, 2) * 60
		if s.accept(':') {
			v += s.number(2, 2)
		}
	}
	return sign * v
}

func (s *scanner) done() bool { return !s.bad && len(s.text) == 0 }

// epochDay counts days from 1970-01-01 in the proleptic Gregorian calendar.
func epochDay(year, month, day int64) int64 {
	if month <= 2 {
		year--
	}
	era := year / 400
	if year < 0 {
		era = (year - 399) / 400
	}
	yearOfEra := year - era*400
	dayOfYear := (153*((month+9)%12)+2)/5 + day - 1
	return era*146097 + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - 719468
}

func encodeDate(dst, text []byte) ([]byte, bool) {
	switch string(text) {
	case "infinity":
		return strconv.AppendInt(dst, dateInfinity, 10), true
	case "-infinity":
		return strconv.AppendInt(dst, dateMinusInfinity, 10), true
	}
	s := scanner{text: text}
	year, month, day := s.date()
	year = s.era(year)
	if !s.done() {
		return dst, false
	}
	return strconv.AppendInt(dst, epochDay(year, month, day), 10), true
}

// timeUnit is how many microseconds one of it has, or minus how many of it a microsecond has.
type timeUnit int64

const (
	milliseconds timeUnit = 1000
	microseconds timeUnit = 1
	nanoseconds  timeUnit = -1000
)

// of counts micros; what int64 cannot hold is its end.
func (u timeUnit) of(micros int64) int64 {
	if u < 0 {
		return saturatingMul(micros, -int64(u))
	}
	return floorDiv(micros, int64(u))
}

// encodeTime counts from midnight.
func encodeTime(unit timeUnit) encoder {
	return func(dst, text []byte) ([]byte, bool) {
		s := scanner{text: text}
		c := s.clock()
		if !s.done() {
			return dst, false
		}
		return strconv.AppendInt(dst, unit.of(c.micros()), 10), true
	}
}

// encodeTimestamp counts from 1970 as if in UTC.
func encodeTimestamp(unit timeUnit) encoder {
	infinity, minusInfinity := int64(math.MaxInt64), int64(math.MinInt64)
	if unit == milliseconds {
		infinity, minusInfinity = millisTimestampInfinity, millisTimestampMinInfinity
	}
	return func(dst, text []byte) ([]byte, bool) {
		switch string(text) {
		case "infinity":
			return strconv.AppendInt(dst, infinity, 10), true
		case "-infinity":
			return strconv.AppendInt(dst, minusInfinity, 10), true
		}
		s := scanner{text: text}
		year, month, day, c := s.dateTime()
		year = s.era(year)
		if !s.done() {
			return dst, false
		}
		micros := epochDay(year, month, day)*microsPerDay + c.micros()
		return strconv.AppendInt(dst, unit.of(micros), 10), true
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// encodeTimestamptz writes ISO 8601 in UTC with the given number of fraction digits; the session's zone is UTC.
func encodeTimestamptz(digits int) encoder {
	return func(dst, text []byte) ([]byte, bool) {
		switch string(text) {
		case "infinity", "-infinity":
			return encodeString(dst, text)
		}
		s := scanner{text: text}
		year, month, day, c := s.dateTime()
		zone := s.zone()
		year = s.era(year)
		if !s.done() || zone != 0 {
			return dst, false
		}
		dst = appendDate(append(dst, '"'), year, month, day)
		dst = append(dst, 'T')
		dst = appendClock(dst, c, digits)
		return append(dst, 'Z', '"'), true
	}
}

// encodeTimetz writes the time in UTC, its fraction without trailing zeros.
func encodeTimetz(dst, text []byte) ([]byte, bool) {
	s := scanner{text: text}
	c := s.clock()
	zone := s.zone()
	if !s.done() {
		return dst, false
	}
	if zone != 0 {
		micros := c.micros() - zone*microsPerSecond
		micros = (micros%microsPerDay + microsPerDay) % microsPerDay
		c = timeOfDay{hour: micros / (3600 * microsPerSecond), minute: micros / (60 * microsPerSecond) % 60,
			second: micros / microsPerSecond % 60, micro: micros % microsPerSecond}
	}
	dst = appendClock(append(dst, '"'), c, c.digits())
	return append(dst, 'Z', '"'), true
}

// digits is how many the fraction has without trailing zeros.
func (c timeOfDay) digits() int {
	digits := 6
	for v := c.micro; digits > 0 && v%10 == 0; v /= 10 {
		digits--
	}
	return digits
}

// encodeISODate writes YYYY-MM-DDZ.
func encodeISODate(dst, text []byte) ([]byte, bool) {
	s := scanner{text: text}
	year, month, day := s.date()
	year = s.era(year)
	if !s.done() {
		return dst, false // an infinite date stays the text that it is
	}
	dst = appendDate(append(dst, '"'), year, month, day)
	return append(dst, 'Z', '"'), true
}

// encodeISOTime writes HH:MM:SS[.ffffff]Z, the fraction without trailing zeros.
func encodeISOTime(dst, text []byte) ([]byte, bool) {
	s := scanner{text: text}
	c := s.clock()
	if !s.done() {
		return dst, false
	}
	dst = appendClock(append(dst, '"'), c, c.digits())
	return append(dst, 'Z', '"'), true
}

// encodeISOTimestamp writes both with a T between.
func encodeISOTimestamp(dst, text []byte) ([]byte, bool) {
	s := scanner{text: text}
	year, month, day, c := s.dateTime()
	year = s.era(year)
	if !s.done() {
		return dst, false // an infinite one stays the text that it is
	}
	dst = appendDate(append(dst, '"'), year, month, day)
	dst = appendClock(append(dst, 'T'), c, c.digits())
	return append(dst, 'Z', '"'), true
}

// appendYear writes years as Java's ISO format does: four digits at least, signed beyond 9999.
func appendYear(dst []byte, year int64) []byte {
	if year < 0 {
		dst = append(dst, '-')
		year = -year
	} else if year > 9999 {
		dst = append(dst, '+')
	}
	for limit := int64(1000); limit > year && limit > 1; limit /= 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, year, 10)
}

func appendDate(dst []byte, year, month, day int64) []byte {
	dst = append(appendYear(dst, year), '-')
	dst = append(append2(dst, month), '-')
	return append2(dst, day)
}

func append2(dst []byte, v int64) []byte {
	return append(dst, byte('0'+v/10%10), byte('0'+v%10))
}

func appendClock(dst []byte, c timeOfDay, digits int) []byte {
	dst = append2(dst, c.hour)
	dst = append(dst, ':')
	dst = append2(dst, c.minute)
	dst = append(dst, ':')
	dst = append2(dst, c.second)
	return appendMicros(dst, c.micro, digits)
}

// appendMicros appends a point and so many digits of a fraction, nothing for none.
func appendMicros(dst []byte, micro int64, digits int) []byte {
	if digits == 0 {
		return dst
	}
	dst = append(dst, '.')
	for i, unit := 0, int64(100_000); i < digits; i, unit = i+1, unit/10 {
		dst = append(dst, byte('0'+micro/unit%10))
	}
	return dst
}

// interval is one in its parts, each with its own sign.
type interval struct {
	years, months, days int64
	negative            bool // the clock is
	clock               timeOfDay
}

// interval reads what IntervalStyle=postgres writes.
func (s *scanner) interval() interval {
	var v interval
	if len(s.text) == 0 {
		s.bad = true
	}
	for first := true; len(s.text) > 0 && !s.bad; first = false {
		if !first {
			s.expect(' ')
		}
		sign := int64(1)
		if s.accept('-') {
			sign = -1
		} else {
			s.accept('+')
		}
		n := s.number(1, 10)
		switch {
		case s.is(':'):
			s.expect(':')
			v.negative, v.clock.hour = sign < 0, n
			v.clock.minute = s.number(2, 2)
			s.expect(':')
			v.clock.second = s.number(2, 2)
			v.clock.micro = s.fraction()
		case s.word(" years"), s.word(" year"):
			v.years = sign * n
		case s.word(" mons"), s.word(" mon"):
			v.months = sign * n
		case s.word(" days"), s.word(" day"):
			v.days = sign * n
		default:
			s.bad = true
		}
	}
	return v
}

// encodeInterval counts microseconds, a month being a twelfth of 365.25 days. What int64 cannot hold is its end.
func encodeInterval(dst, text []byte) ([]byte, bool) {
	s := scanner{text: text}
	v := s.interval()
	if !s.done() {
		return dst, false
	}
	total := saturatingAdd(saturatingMul(v.years*12+v.months, microsPerMonth), saturatingMul(v.days, microsPerDay))
	micros := saturatingAdd(saturatingMul(v.clock.hour, 3600*microsPerSecond), timeOfDay{minute: v.clock.minute, second: v.clock.second, micro: v.clock.micro}.micros())
	if v.negative {
		micros = -micros
	}
	return strconv.AppendInt(dst, saturatingAdd(total, micros), 10), true
}

// encodeIntervalText writes every part: P1Y2M3DT4H5M6.78S.
func encodeIntervalText(dst, text []byte) ([]byte, bool) {
	s := scanner{text: text}
	v := s.interval()
	if !s.done() {
		return dst, false
	}
	dst = strconv.AppendInt(append(dst, '"', 'P'), v.years, 10)
	dst = strconv.AppendInt(append(dst, 'Y'), v.months, 10)
	dst = strconv.AppendInt(append(dst, 'M'), v.days, 10)
	dst = append(dst, 'D', 'T')
	sign := func(n int64) {
		if v.negative && n != 0 {
			dst = append(dst, '-')
		}
	}
	sign(v.clock.hour)
	dst = strconv.AppendInt(dst, v.clock.hour, 10)
	dst = append(dst, 'H')
	sign(v.clock.minute)
	dst = strconv.AppendInt(dst, v.clock.minute, 10)
	dst = append(dst, 'M')
	sign(v.clock.second + v.clock.micro)
	dst = strconv.AppendInt(dst, v.clock.second, 10)
	dst = appendMicros(dst, v.clock.micro, v.clock.digits())
	return append(dst, 'S', '"'), true
}

package http

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// errForbidden is the cause of a connection that the policy on addresses does not allow.
var errForbidden = errors.New("an address that Freshet does not connect to")

var (
	awsMetadata6   = netip.MustParseAddr("fd00:ec2::254")
	alibaba        = netip.MustParseAddr("100.100.100.200")
	oracle         = netip.MustParseAddr("192.0.0.192")
	nat64          = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour      = netip.MustParsePrefix("2002::/16")
	thisNetwork    = netip.MustParsePrefix("0.0.0.0/8")
	reserved       = netip.MustParsePrefix("240.0.0.0/4") // with the broadcast address
	ipv4Compatible = netip.MustParsePrefix("::/96")
)

// allowed says whether a resolved address may be connected to. Metadata services of clouds, link-local, multicast and
// unspecified addresses never may.
func allowed(a netip.Addr, denyLoopback, denyPrivate bool) bool {
	a = a.Unmap().WithZone("")
	if a.Is6() && !a.IsLoopback() {
		// Addresses that a gateway turns into the IPv4 address within them.
		b := a.As16()
		switch {
		case nat64.Contains(a), ipv4Compatible.Contains(a):
			return allowed(netip.AddrFrom4([4]byte(b[12:])), denyLoopback, denyPrivate)
		case sixToFour.Contains(a):
			return allowed(netip.AddrFrom4([4]byte(b[2:6])), denyLoopback, denyPrivate)
		}
	}
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), a.IsInterfaceLocalMulticast(),
		a == awsMetadata6, a == alibaba, a == oracle, thisNetwork.Contains(a), reserved.Contains(a):
		return false
	case a.IsLoopback():
		return !denyLoopback
	case a.IsPrivate():
		return !denyPrivate
	}
	return true
}

// dialer connects where allowed. The address is judged after its name was resolved, for each connection anew, so that
// a name which changes its address gains nothing.
func dialer(denyLoopback, denyPrivate bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || !allowed(to.Addr(), denyLoopback, denyPrivate) {
				return errForbidden
			}
			return nil
		}}
	return d.DialContext
}

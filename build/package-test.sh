#!/usr/bin/env bash
# package-test.sh [ROOT]   installs what is in dist/ on a clean Debian 12, made in a folder by debootstrap from where this
# machine's packages come from; runs the demo there as a plain user; removes the packages, and fails where a file is left
# but the data directory. As root. ROOT, where given, is a clean root made before; it is copied.
set -euo pipefail
cd "$(dirname "$0")/.."
release=bookworm
[[ $(id -u) == 0 ]] || { echo "package-test: needs root, for a root of its own" >&2; exit 1; }
debs=(dist/*.deb)
[[ ${#debs[@]} == 2 && -e ${debs[0]} ]] || { echo "package-test: make package comes first" >&2; exit 1; }

work=$(mktemp -d)
root=$work/root
demo=
finish() {
	[[ -z $demo ]] || { kill -TERM "$demo" && wait "$demo"; } 2>/dev/null || true
	! mountpoint -q "$root/proc" || umount "$root/proc"
	rm -rf --one-file-system "$work"
}
trap finish EXIT

if [[ -n ${1-} ]]; then
	cp -a "$1" "$root"
else
	mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' | awk -v r=$release '$2 == r { print $1; exit }')
	[[ -n $mirror ]] || { echo "package-test: this machine's package sources have no $release" >&2; exit 1; }
	debootstrap --variant=minbase $release "$root" "$mirror" >"$work/debootstrap.log" || { tail "$work/debootstrap.log"; exit 1; }
fi
chmod 1777 "$root/dev/shm" # where PostgreSQL shares memory
mount -t proc proc "$root/proc"
# Each is the program itself once it runs, so that its process id is the one to end.
inside=(chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive)
as_user=("${inside[@]}" setpriv --reuid=demo --regid=demo --clear-groups env HOME=/home/demo USER=demo)
files() { (cd "$root" && find . -xdev \( -path ./proc -o -path ./dev -o -path ./root/debs -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/cache -o -path ./var/log \) -prune -o -print | LC_ALL=C sort); }
step() { echo "package-test: $* ($SECONDS s)"; }

# What the packages need comes first, so that the difference is theirs alone.
"${inside[@]}" apt-get -qq update
mkdir -p "$root/root/debs" "$root/etc/postgresql-common"
echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
needs=()
for deb in "${debs[@]}"; do
	cp "$deb" "$root/root/debs/"
	needs+=("$(dpkg-deb -f "$deb" Depends)")
done
# Built on a machine like it, they need what it has: dpkg would refuse to configure them otherwise.
"${inside[@]}" apt-get -qq -y install --no-install-recommends postgresql $(tr ',' '\n' <<<"${needs[*]/%/,}" | sed -n 's/^ *\([a-z0-9.+-]*\).*/\1/p' | sort -u) >"$work/apt.log" 2>&1 || { tail "$work/apt.log"; exit 1; }
"${inside[@]}" useradd --create-home --shell /bin/sh demo
files >"$work/before"
step "a clean Debian $release with what the packages depend on"

"${inside[@]}" sh -c 'dpkg --install /root/debs/*.deb' >"$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log"; exit 1; }
for name in freshet freshet-desktop; do
	"${as_user[@]}" "$name" version
	"${as_user[@]}" sh -c "bash -n /usr/share/bash-completion/completions/$name && gzip -t /usr/share/man/man1/$name.1.gz"
	if "${inside[@]}" ldd "/usr/bin/$name" | grep 'not found'; then exit 1; fi
done
[[ ! -e $root/etc/systemd/system/multi-user.target.wants/freshet.service ]] || { echo "the service is enabled unasked"; exit 1; }
step "both are installed"

"${as_user[@]}" freshet demo --no-open --data /home/demo/data >"$work/demo.out" 2>"$work/demo.log" &
demo=$!
for ((tries = 0; ; tries++)); do
	if grep -qs 'is live' "$work/demo.out"; then break; fi
	if ((tries == 600)) || ! kill -0 $demo 2>/dev/null; then cat "$work/demo.out" "$work/demo.log"; exit 1; fi
	sleep 0.5
done
"${as_user[@]}" freshet wait --data /home/demo/data --sink warehouse --caught-up --timeout 120s
"${as_user[@]}" freshet freshness --data /home/demo/data
kill -TERM $demo
wait $demo
demo=
step "the demo ran as a plain user, and ended"

"${inside[@]}" dpkg --purge freshet freshet-desktop >"$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log"; exit 1; }
files >"$work/after"
left=$(LC_ALL=C comm -13 "$work/before" "$work/after" | grep -v '^\./home/demo/data\(/\|$\)' || true)
gone=$(LC_ALL=C comm -23 "$work/before" "$work/after")
[[ -z $left && -z $gone ]] || { printf 'left behind:\n%s\ngone:\n%s\n' "$left" "$gone"; exit 1; }
[[ -e $root/home/demo/data/ledger.db ]] || { echo "the data directory is gone"; exit 1; }
step "both are removed, and nothing is left but the data directory"

#!/usr/bin/env bash
# package.sh   makes dist/: .deb of the server and of the desktop, a tar.gz of both programs, and, where mingw is
# installed, the server for Windows. Nothing in them depends on who made them, or when.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

described=$(git describe --tags --always --dirty)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
author="${DEBFULLNAME:-$(git log -1 --format=%an)} <${DEBEMAIL:-$(git log -1 --format=%ae)}>"
ldflags="-s -w -X freshet/app.version=$described -X freshet/app.commit=$(git rev-parse HEAD)"

# v1.2.3 is 1.2.3; four commits later 1.2.3+4.g1a2b3c4; before the first tag a version below every tag's.
if [[ $described =~ ^v?([0-9][0-9.]*)(-([0-9]+)-(g[0-9a-f]+))?(-dirty)?$ ]] && git describe --tags >/dev/null 2>&1; then
	version=${BASH_REMATCH[1]}${BASH_REMATCH[3]:++${BASH_REMATCH[3]}.${BASH_REMATCH[4]}}${BASH_REMATCH[5]:++dirty}
else
	version=0~git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d).${described/-/+}
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf dist
mkdir dist

make --no-print-directory page
export CGO_ENABLED=1
go build -trimpath -ldflags "$ldflags" -o "$work/freshet" .
go build -trimpath -tags desktop,production,webkit2_41 -ldflags "$ldflags" -o "$work/freshet-desktop" .
node build/dependencies.mjs --texts >"$work/licences.txt"

# put MODE FILE DEST   installs a file with the time of the commit.
put() { install -D -m "$1" "$2" "$3"; }
zipped() { mkdir -p "$(dirname "$2")" && gzip -9n <"$1" >"$2"; }

# tree PROGRAM ROOT   lays out what a program is installed with.
tree() {
	local name=$1 root=$2 shell
	put 755 "$work/$name" "$root/usr/bin/$name"
	"$work/$name" man >"$work/$name.1"
	zipped "$work/$name.1" "$root/usr/share/man/man1/$name.1.gz"
	for shell in bash zsh fish; do "$work/$name" completion $shell >"$work/completion.$shell"; done
	put 644 "$work/completion.bash" "$root/usr/share/bash-completion/completions/$name"
	put 644 "$work/completion.zsh" "$root/usr/share/zsh/vendor-completions/_$name"
	put 644 "$work/completion.fish" "$root/usr/share/fish/vendor_completions.d/$name.fish"
	put 644 build/linux/copyright "$root/usr/share/doc/$name/copyright"
	put 644 "$work/licences.txt" "$root/usr/share/doc/$name/licences.txt"
	gzip -9n "$root/usr/share/doc/$name/licences.txt"
	if [[ $name == freshet ]]; then
		put 644 build/linux/freshet.service "$root/lib/systemd/system/freshet.service"
		return
	fi
	put 644 build/linux/freshet.desktop "$root/usr/share/applications/freshet.desktop"
	put 644 build/icon.svg "$root/usr/share/icons/hicolor/scalable/apps/freshet.svg"
	local size
	for size in 48 64 128 256; do
		rsvg-convert -w $size -h $size build/icon.svg -o "$work/icon.png"
		put 644 "$work/icon.png" "$root/usr/share/icons/hicolor/${size}x$size/apps/freshet.png"
	done
}

# deb PROGRAM SUMMARY FIELDS   packs a program's tree; what it links is asked of dpkg.
deb() {
	local name=$1 summary=$2 fields=$3 root=$work/deb/$1 depends
	tree "$name" "$root"
	mkdir -p "$root/DEBIAN" "$work/shlibs/debian"
	printf '%s (%s) stable; urgency=medium\n\n  * What changed is in CHANGELOG.md of the sources.\n\n -- %s  %s\n' \
		"$name" "$version" "$author" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$work/changelog"
	zipped "$work/changelog" "$root/usr/share/doc/$name/changelog.gz"
	printf 'Source: freshet\n\nPackage: %s\nArchitecture: any\n' "$name" >"$work/shlibs/debian/control"
	depends=$(cd "$work/shlibs" && dpkg-shlibdeps -O "$root/usr/bin/$name" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
	cat >"$root/DEBIAN/control" <<-END
		Package: $name
		Version: $version
		Architecture: $(dpkg --print-architecture)
		Maintainer: $author
		Installed-Size: $(du -sk --apparent-size "$root" | cut -f1)
		Depends: $depends
		$fields
		Priority: optional
		Description: $summary
		 Freshet shows a team what its data is doing between the database and the
		 people who use it, and lets the owner of that data put it right: capture
		 from PostgreSQL, lag and freshness of every hop, and replays that are
		 planned, approved and counted.
	END
	(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
	if [[ $name == freshet ]]; then
		install -m 755 build/linux/{postinst,prerm,postrm} "$root/DEBIAN/"
	fi
	find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	dpkg-deb --root-owner-group -Zxz --build "$root" dist >/dev/null
}

deb freshet 'console of data between a database and its users: server' $'Section: database\nSuggests: postgresql'
deb freshet-desktop 'console of data between a database and its users: window' $'Section: database\nSuggests: postgresql'

# Unpacked below /usr/local, or run from where it is.
folder=freshet-$version-linux-amd64
tree freshet "$work/tar"
tree freshet-desktop "$work/tar"
mkdir -p "$work/$folder/lib"
mv "$work/tar/usr/bin" "$work/tar/usr/share" "$work/$folder/"
mv "$work/tar/lib/systemd" "$work/$folder/lib/"
sed -i 's|/usr/bin/|/usr/local/bin/|' "$work/$folder/lib/systemd/system/freshet.service"
cp LICENSE "$work/$folder/"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$folder" | gzip -9n >"dist/$folder.tar.gz"

if command -v x86_64-w64-mingw32-gcc >/dev/null; then
	GOOS=windows GOARCH=amd64 CC=x86_64-w64-mingw32-gcc go build -trimpath -ldflags "$ldflags" -o "dist/freshet-$version-windows-amd64.exe" .
else
	echo "package: no server for Windows: no x86_64-w64-mingw32-gcc here" >&2
fi
(cd dist && sha256sum -- * >SHA256SUMS && ls -l)

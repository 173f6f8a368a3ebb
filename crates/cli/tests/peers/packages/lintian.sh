# What Debian's own examiner says of our packages; an error fails, warnings are shown.
set -eu
exec 2>&1
for package in /packages/*_0.1.0_amd64.deb; do
    echo "@step lintian $package"
    lintian --allow-root --no-cfg --fail-on error "$package"
done

#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs one stage of the image's build: stage.sh IMAGES DIGEST STAGE, with LAB_SUITE, LAB_XEN and LAB_MIRROR in the environment.
#
# A stage works in IMAGES/.build-DIGEST and gives its results their names only when they are whole, so a stage that was
# interrupted is done again and one that ended is not. The lock makes a second run wait instead of colliding; it goes
# with the process that holds it. "publish" renames the whole directory to IMAGES/DIGEST.
# Prints "done SECONDS" or "cached".
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
images=$1 digest=$2 stage=$3
mkdir -p "$images"
cd "$images"
exec 9>.lock
flock 9
if [ -d "$digest" ] || [ -e ".build-$digest/.done-$stage" ]; then
  echo cached
  exit
fi

begin=$SECONDS
mkdir -p ".build-$digest"
if [ "$stage" = publish ]; then
  find . -maxdepth 1 -name '.build-*' ! -name ".build-$digest" -exec rm -rf --one-file-system {} +
  rm -rf --one-file-system ".build-$digest"/{root,tiny,initrd,tmp} ".build-$digest"/.done-*
  mv -T ".build-$digest" "$digest"
else
  # A mount namespace of its own: whatever a stage mounts is gone with it, even when it is killed.
  (cd ".build-$digest" && unshare --mount --propagation private "$here/$stage.sh") >&2
  touch ".build-$digest/.done-$stage"
fi
echo "done $((SECONDS - begin))"

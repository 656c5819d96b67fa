#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs one stage of an image's build: stage.sh IMAGES IMAGE STAGE, a stage being a script beside this one without its .sh.
# LAB_SUITE, LAB_XEN and LAB_MIRROR are in the environment, and LAB_ROOTFS, the image that this one is made from, if any.
#
# A stage works in IMAGES/.build-IMAGE and gives its results their names only when they are whole, so a stage that was
# interrupted is done again and one that ended is not. The lock makes a second run wait instead of colliding; it goes
# with the process that holds it. "publish" drops scratch/ and renames the directory to IMAGES/IMAGE.
# Prints "done SECONDS" or "cached".
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
images=$1 image=$2 stage=$3
finished=.build-$image/.done-${stage//\//-}
mkdir -p "$images"
cd "$images"
exec 9>.lock
flock 9
if [ -d "$image" ] || [ -e "$finished" ]; then
  echo cached
  exit
fi

begin=$SECONDS
mkdir -p ".build-$image/scratch"
if [ "$stage" = publish ]; then
  # Another build may be between two of its stages; one that nothing was added to for an hour was given up.
  find . -maxdepth 1 -name '.build-*' ! -name ".build-$image" -mmin +60 -exec rm -rf --one-file-system {} +
  rm -rf --one-file-system ".build-$image"/scratch ".build-$image"/.done-*
  mv -T ".build-$image" "$image"
else
  # What it is made from stays as long as it does: prune looks at this link.
  [ -z "${LAB_ROOTFS:-}" ] || ln -sfn "../$LAB_ROOTFS" ".build-$image/rootfs"
  # A mount namespace of its own: whatever a stage mounts is gone with it, even when it is killed.
  (cd ".build-$image" && unshare --mount --propagation private "$here/$stage.sh") >&2
  touch "$finished"
fi
echo "done $((SECONDS - begin))"

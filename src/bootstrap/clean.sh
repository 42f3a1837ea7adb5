# Removes the stubs of boot.sh, folder by folder, and prints the paths removed.
set +f;
say() { echo "nlr-""clean $*"; };
for d do
ours "$d" || continue;
for f in "$d"/stub-* "$d"/tmp-*; do [ -f "$f" ] && if rm -f "$f"; then say removed "$f"; else say kept "$f"; fi; done;
rmdir "$d" 2>/dev/null && say removed "$d";
done;
say done

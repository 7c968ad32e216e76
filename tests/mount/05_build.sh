#!/bin/bash
# Untar, configure, build and run a small C program on the mount.
# time limit: 120 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_command gcc
need_command make
start

say "a source tarball"
mkdir -p "$T/hello-1.0/src"
cat >"$T/hello-1.0/configure" <<'END'
#!/bin/sh
# Tries the compiler and a header, then writes config.h and a Makefile from its template.
set -e
srcdir=$(dirname "$0")
CC=${CC:-gcc}
printf 'checking whether the compiler works... '
echo 'int main(void) { return 0; }' >conftest.c
$CC -o conftest conftest.c
./conftest
echo yes
rm -f conftest conftest.c
printf 'checking for unistd.h... '
echo '#include <unistd.h>' >conftest.c
$CC -E conftest.c >conftest.i
echo '#define HAVE_UNISTD_H 1' >config.h.tmp
mv config.h.tmp config.h
rm -f conftest.*
echo yes
sed "s|@CC@|$CC|; s|@srcdir@|$srcdir|" "$srcdir/Makefile.in" >Makefile
echo 'configure: creating Makefile, config.h'
END
chmod +x "$T/hello-1.0/configure"
cat >"$T/hello-1.0/Makefile.in" <<'END'
CC = @CC@
VPATH = @srcdir@/src
PARTS = $(foreach n,1 2 3 4 5 6 7 8,part$(n).o)
hello: main.o libparts.a
	$(CC) -o $@ main.o libparts.a
libparts.a: $(PARTS)
	ar rcs $@ $(PARTS)
main.o $(PARTS): config.h
%.o: %.c
	$(CC) -g -O1 -I. -c -o $@ $<
clean:
	rm -f hello libparts.a *.o
END
for n in 1 2 3 4 5 6 7 8; do
	printf '#include <stdio.h>\n#include "config.h"\nint part%d(void);\nint part%d(void)\n{\n\treturn HAVE_UNISTD_H * %d;\n}\n' \
		"$n" "$n" "$n" >"$T/hello-1.0/src/part$n.c"
done
{
	echo '#include <stdio.h>'
	for n in 1 2 3 4 5 6 7 8; do echo "int part$n(void);"; done
	echo 'int main(void)'
	echo '{'
	echo '	printf("sum %d\n", part1() + part2() + part3() + part4() + part5() + part6() + part7() + part8());'
	echo '	return 0;'
	echo '}'
} >"$T/hello-1.0/src/main.c"
tar -C "$T" -czf "$T/hello.tar.gz" hello-1.0

say "untar, configure, make -j2, run"
tar -C "$M" -xzf "$T/hello.tar.gz"
diff -r "$T/hello-1.0" "$M/hello-1.0"
mkdir "$M/build"
cd "$M/build"
../hello-1.0/configure
make -j2
eq "the program runs" "$(./hello)" "sum 36"

say "make knows what is up to date"
make -q || fail "nothing changed, and make would build again"
sleep 0.02
touch ../hello-1.0/src/part3.c
! make -q || fail "a source is newer, and make does not see it"
make -s
make -q || fail "built, and make would build again"

say "after a remount"
cd "$T"
remount
cd "$M/build"
make -q || fail "times moved over a remount"
eq "the program runs" "$(./hello)" "sum 36"
make clean
rm -f "$M/hello.tar"
tar -C "$M" -cf "$M/hello.tar" hello-1.0
tar -C "$M" -df "$M/hello.tar"
cd "$T"
stop
check_database

# SPDX-License-Identifier: Apache-2.0
# embed.awk: writes a text file as a C string: awk -v name=NAME -v header=FILE -f embed.awk TEXT
BEGIN {
    printf "// Generated from a text file by api/embed.awk.\n#include \"%s\"\n\n", header
    printf "const char %s[] =\n", name
}
{
    gsub(/\\/, "\\\\")
    gsub(/"/, "\\\"")
    printf "    \"%s\\n\"\n", $0
}
END { print "    ;" }

# SPDX-License-Identifier: Apache-2.0
# embed.sed: makes each line of a text a C string literal; api.mk puts the
# declaration around them.
s/\\/\\\\/g
s/"/\\"/g
s/^/    "/
s/$/\\n"/

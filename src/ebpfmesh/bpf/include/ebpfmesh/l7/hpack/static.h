/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Written by build_tools/hpack_tables.py: do not edit. The static table of RFC 7541 appendix A. */
/* clang-format off */
#ifndef EBPFMESH_L7_HPACK_STATIC_H
#define EBPFMESH_L7_HPACK_STATIC_H

#include <linux/types.h>

#define HPACK_STATIC 61 /* the dynamic table begins behind this index */
#define HPACK_STATIC_TEXT 32

struct hpack_static {
	__u8 text[HPACK_STATIC_TEXT]; /* the name, and behind it the value; zeroes */
};

struct hpack_static_length {
	__u8 name;
	__u8 value;
};

static const struct hpack_static hpack_static[64] = {
	{{0}},
	{":authority"},
	{":methodGET"},
	{":methodPOST"},
	{":path/"},
	{":path/index.html"},
	{":schemehttp"},
	{":schemehttps"},
	{":status200"},
	{":status204"},
	{":status206"},
	{":status304"},
	{":status400"},
	{":status404"},
	{":status500"},
	{"accept-charset"},
	{"accept-encodinggzip, deflate"},
	{"accept-language"},
	{"accept-ranges"},
	{"accept"},
	{"access-control-allow-origin"},
	{"age"},
	{"allow"},
	{"authorization"},
	{"cache-control"},
	{"content-disposition"},
	{"content-encoding"},
	{"content-language"},
	{"content-length"},
	{"content-location"},
	{"content-range"},
	{"content-type"},
	{"cookie"},
	{"date"},
	{"etag"},
	{"expect"},
	{"expires"},
	{"from"},
	{"host"},
	{"if-match"},
	{"if-modified-since"},
	{"if-none-match"},
	{"if-range"},
	{"if-unmodified-since"},
	{"last-modified"},
	{"link"},
	{"location"},
	{"max-forwards"},
	{"proxy-authenticate"},
	{"proxy-authorization"},
	{"range"},
	{"referer"},
	{"refresh"},
	{"retry-after"},
	{"server"},
	{"set-cookie"},
	{"strict-transport-security"},
	{"transfer-encoding"},
	{"user-agent"},
	{"vary"},
	{"via"},
	{"www-authenticate"},
};

static const struct hpack_static_length hpack_static_length[64] = {
	{0, 0}, {10, 0}, {7, 3}, {7, 4}, {5, 1}, {5, 11}, {7, 4}, {7, 5}, {7, 3}, {7, 3}, {7, 3}, {7, 3}, {7, 3},
	{7, 3}, {7, 3}, {14, 0}, {15, 13}, {15, 0}, {13, 0}, {6, 0}, {27, 0}, {3, 0}, {5, 0}, {13, 0}, {13, 0}, {19, 0},
	{16, 0}, {16, 0}, {14, 0}, {16, 0}, {13, 0}, {12, 0}, {6, 0}, {4, 0}, {4, 0}, {6, 0}, {7, 0}, {4, 0}, {4, 0},
	{8, 0}, {17, 0}, {13, 0}, {8, 0}, {19, 0}, {13, 0}, {4, 0}, {8, 0}, {12, 0}, {18, 0}, {19, 0}, {5, 0}, {7, 0},
	{7, 0}, {11, 0}, {6, 0}, {10, 0}, {25, 0}, {17, 0}, {10, 0}, {4, 0}, {3, 0}, {16, 0},
};

#endif

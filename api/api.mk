# libapi.a: the HTTP layer, for keyd and its tests.

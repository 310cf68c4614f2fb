# libkeyd_service.a: the service, for keyd and its tests.

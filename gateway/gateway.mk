# keyd-gateway: the message server between devices and a backend.
noinst_LIBRARIES += libgateway.a
libgateway_a_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS) $(MHD_CFLAGS) $(CONFUSE_CFLAGS)
libgateway_a_SOURCES = \
	gateway/address.c \
	gateway/answer.c gateway/answer.h \
	gateway/client.c gateway/client.h \
	gateway/client_queue.c gateway/client_queue.h \
	gateway/client_sockets.c gateway/client_sockets.h \
	gateway/config.c gateway/config.h \
	gateway/control.c \
	gateway/gateway.c gateway/gateway.h \
	gateway/listeners.c \
	gateway/message.c \
	gateway/places.c \
	gateway/push.c \
	gateway/question.c \
	gateway/ready.c \
	gateway/records.c \
	gateway/released.c gateway/released.h \
	gateway/reload.c \
	gateway/tcp.c \
	gateway/udp.c \
	gateway/web.c

gateway_libs = libgateway.a libkeyd_service.a libchannel.a libbase.a \
	$(CURL_LIBS) $(MHD_LIBS) $(CONFUSE_LIBS) $(CRYPTO_LIBS)

sbin_PROGRAMS += gateway/keyd-gateway
gateway_keyd_gateway_SOURCES = gateway/main.c keyd/notify.c keyd/notify.h
gateway_keyd_gateway_CFLAGS = $(libgateway_a_CFLAGS) $(SYSTEMD_CFLAGS)
gateway_keyd_gateway_LDADD = $(gateway_libs) $(SYSTEMD_LIBS) libconfine.a libbase.a $(SECCOMP_LIBS)
